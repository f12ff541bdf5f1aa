"""One command that gets into trouble, and the undisturbed one that it is compared with."""

from __future__ import annotations

import functools
import os
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from firing.launch import run_kdhub, torchrun
from firing.process import Process, require
from torch import Tensor

from kdhub.checkpoint import read_checkpoint

Kind = TypeVar("Kind", bound="Round")


@dataclass
class Round(ABC):
    """One command that gets into trouble.

    Attributes:
        name: What the faults of this kind are called by.
        folder: Everything of the round.
        loop: ``iterations`` or ``epochs``: how the training counts.
        processes: 1, or more under torchrun.
        random: Decides when and what.
        reference: The undisturbed round; `None` for that one itself.
        seconds: How long the undisturbed command takes.
        size: Bytes of the largest file that it writes.
        finished: Whether the command came to its end in spite of the fault.
    """

    name: ClassVar[str]
    folder: Path
    loop: str
    processes: int
    random: random.Random
    reference: Any = None
    seconds: float = 0.0
    size: int = 0
    finished: bool = False
    _consoles: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    @abstractmethod
    def undisturbed(self) -> None:
        """Run the command to its end, and note what it took."""

    @abstractmethod
    def recover(self) -> None:
        """Type what the messages say until all is done."""

    @abstractmethod
    def compare(self) -> None:
        """Demand the bits of the undisturbed round."""

    @property
    def work_dir(self) -> Path:
        """The folder of the training."""
        return self.folder / "run"

    def typed(
        self,
        *arguments: str,
        processes: int = 1,
        file_limit: int | None = None,
        before: Callable[[], None] | None = None,
    ) -> Process:
        """Prepare a process that does what ``kdhub`` does with these arguments.

        Args:
            arguments: As typed.
            processes: More than 1 for torchrun.
            file_limit: No file may grow beyond so many bytes.
            before: Called first in the new process.
        """
        if processes > 1:
            arguments += ("--launcher", "pytorch")
        action = functools.partial(run_kdhub, list(arguments), file_limit, before)
        if processes > 1:
            action = functools.partial(torchrun, processes, action)
        return Process(self.folder / f"console-{next(self._consoles)}.txt", action)

    def moment(self) -> float:
        """Draw a moment of the command, in seconds."""
        return self.random.uniform(0, self.reference.seconds)

    def timed(self, process: Process) -> None:
        """Run a process to its end, and note how long it took."""
        begin = time.monotonic()
        self.done(process)
        self.seconds = time.monotonic() - begin

    @staticmethod
    def done(process: Process) -> None:
        """Run a process to its end, which must be a good one."""
        with process:
            code = process.wait()
            require(code == 0, f"ended with {code}: {process.console}")
            require(not process.errors(), f"an error in {process.console}")


class References:
    """Undisturbed rounds, one for each kind, loop and number of processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rounds: dict[tuple[type[Round], str, int], Round] = {}

    def get(self, kind: type[Kind], loop: str, processes: int) -> Kind:
        """Return the undisturbed round, played when first asked for."""
        key = kind, loop, processes
        if key not in self._rounds:
            folder = self._folder / f"undisturbed-{kind.__name__}-{loop}-{processes}"
            folder.mkdir(parents=True)
            one = kind(folder, loop, processes, random.Random(0))
            one.undisturbed()
            self._rounds[key] = one
        found = self._rounds[key]
        assert isinstance(found, kind)
        return found


def names(folder: Path) -> list[str]:
    """Return the names in a folder that may not be there yet."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def require_same_checkpoints(one: Path, other: Path) -> None:
    """Demand that two trainings ended with the same weights, averages of them, optimizers and schedules."""
    contents = [read_checkpoint(path) for path in (one, other)]
    for part in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
        different = list(differences(contents[0].get(part), contents[1].get(part), part))
        require(not different, f"{len(different)} values differ, the first is {different[:1]}")


def differences(one: Any, two: Any, path: str) -> Iterator[str]:
    """Name the parts of two nested values that do not have the same bits."""
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        if not torch.equal(one, two):
            yield path
    elif isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        for key in one:
            yield from differences(one[key], two[key], f"{path}.{key}")
    elif isinstance(one, (list, tuple)) and isinstance(two, (list, tuple)) and len(one) == len(two):
        for index, (a, b) in enumerate(zip(one, two, strict=True)):
            yield from differences(a, b, f"{path}.{index}")
    elif one != two:
        yield path
