"""One run that gets into trouble, and the unbroken one that it is compared with."""

from __future__ import annotations

import functools
import json
import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from firing.process import Process, require, torchrun, train
from firing.training import ITERATIONS, config_text
from torch import Tensor

from kdhub.checkpoint import read_checkpoint
from kdhub.engine.integrity import Ledger

_LAST = f"iter_{ITERATIONS}.pth"


@dataclass
class Round:
    """One run that gets into trouble.

    Attributes:
        folder: Everything of the round.
        loop: ``iterations`` or ``epochs``.
        processes: 1, or more under torchrun.
        random: Decides when and what.
        seconds: How long the unbroken run takes.
        checkpoint_size: Bytes of a checkpoint of it.
        expected: Name of the checkpoint that the resume must begin at; `None` for the newest one recorded.
        finished: Whether the run came to its end in spite of the fault.
    """

    folder: Path
    loop: str
    processes: int
    random: random.Random
    seconds: float = 0.0
    checkpoint_size: int = 0
    expected: str | None = None
    finished: bool = False
    _consoles: Iterator[int] = field(default_factory=lambda: iter(range(1000)))

    @property
    def work_dir(self) -> Path:
        """The folder of the run."""
        return self.folder / "run"

    def train(self, *options: str, file_limit: int | None = None) -> Process:
        """Prepare a process that trains, in the folder of the round."""
        config = self.folder / "config.py"
        config.write_text(config_text(self.loop, self.processes))
        arguments = ["train", str(config), "--work-dir", str(self.work_dir), *options]
        if self.processes > 1:
            arguments += ["--launcher", "pytorch"]
        action = functools.partial(train, arguments, file_limit)
        if self.processes > 1:
            action = functools.partial(torchrun, self.processes, action)
        return Process(self.folder / f"console-{next(self._consoles)}.txt", action)

    def moment(self) -> float:
        """Draw a moment of the run, in seconds."""
        return self.random.uniform(0, self.seconds)

    def stop_somewhere(self) -> None:
        """Kill the run at a random moment after its second checkpoint."""
        with self.train() as process:
            while process.running() and len(self.recorded()) < 2:
                time.sleep(0.001)
            process.run_for(self.random.uniform(0, self.seconds / 3))
            process.kill()

    def recorded(self) -> list[str]:
        """Return the names of the checkpoints that were acknowledged, the newest first."""
        return [path.name for path in Ledger.read(self.work_dir).resumable()] if self.work_dir.is_dir() else []


class Reference:
    """Unbroken runs, one for each loop and number of processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runs: dict[tuple[str, int], Round] = {}

    def get(self, loop: str, processes: int) -> Round:
        """Return the unbroken run, trained when first asked for."""
        if (loop, processes) not in self._runs:
            folder = self._folder / f"unbroken-{loop}-{processes}"
            folder.mkdir(parents=True)
            run = Round(folder, loop, processes, random.Random(0))
            begin = time.monotonic()
            with run.train() as process:
                require(process.wait() == 0, f"the unbroken run failed: {process.console}")
            run.seconds = time.monotonic() - begin
            run.checkpoint_size = (run.work_dir / _LAST).stat().st_size
            self._runs[loop, processes] = run
        return self._runs[loop, processes]


def recover(run: Round) -> None:
    """Type what the messages say until the run is finished."""
    if run.finished:
        return
    recorded = run.recorded() if run.expected is None else [run.expected]
    with run.train("--resume") as process:
        code = process.wait()
        if not recorded and code != 0:
            process.require_told("nothing to resume")
        else:
            require(code == 0, f"--resume ended with {code}: {process.console}")
            require(not process.errors(), f"an error in {process.console}")
            begun = re.search(r"resuming from .*/(\S+)", process.console.read_text())
            require(begun and begun[1] in recorded[:1], f"went on from {begun and begun[1]} instead of {recorded[:1]}")
            return
    with run.train() as process:
        require(process.wait() == 0, f"starting over ended with {process.code}: {process.console}")


def compare(run: Round, unbroken: Round) -> None:
    """Demand that two runs ended with the same bits and found the same metrics on the way."""
    one, two = (read_checkpoint(each.work_dir / _LAST) for each in (run, unbroken))
    for part in ("state_dict", "optimizer", "param_schedulers"):
        different = list(_differences(one.get(part), two.get(part), part))
        require(not different, f"{len(different)} values differ, the first is {different[:1]}")
    evaluations = [
        [
            (each["iteration"], each["metrics"])
            for each in json.loads((one.work_dir / "run.json").read_text())["evaluations"]
        ]
        for one in (run, unbroken)
    ]
    if not (run.work_dir / "run.damaged.json").exists():
        require(evaluations[0] == evaluations[1], "evaluations differ")


def _differences(one: Any, two: Any, path: str) -> Iterator[str]:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        if not torch.equal(one, two):
            yield path
    elif isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        for key in one:
            yield from _differences(one[key], two[key], f"{path}.{key}")
    elif isinstance(one, (list, tuple)) and isinstance(two, (list, tuple)) and len(one) == len(two):
        for index, (a, b) in enumerate(zip(one, two, strict=True)):
            yield from _differences(a, b, f"{path}.{index}")
    elif one != two:
        yield path
