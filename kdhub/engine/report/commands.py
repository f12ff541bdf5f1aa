"""What to type to go on with a run, or to fill the stores of its teachers."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdhub.engine.workdir.work_dir import latest_checkpoint


@dataclass(frozen=True, slots=True)
class Typed:
    """The command that the user typed.

    Attributes:
        command: Its name, ``train`` or ``cache``.
        words: All of it after ``kdhub``, without ``--resume``.
        config: The config that it names.
        options: Its overrides and plugin switches, which other commands take too.
    """

    command: str
    words: Sequence[str]
    config: str
    options: Sequence[str]


_typed: ContextVar[Typed | None] = ContextVar("typed", default=None)


@contextmanager
def as_typed(typed: Typed) -> Iterator[None]:
    """Let messages within the block say what to type in the words of the user; without it they name the resolved config."""
    token = _typed.set(typed)
    try:
        yield
    finally:
        _typed.reset(token)


def resume_command(work_dir: str | Path) -> str:
    """Return what to type to go on with the run of a work_dir, or to begin anew if it has saved nothing."""
    typed = _typed.get()
    resume = " --resume" if latest_checkpoint(Path(work_dir)) is not None else ""
    if typed is None or typed.command != "train":
        return f"kdhub train {shlex.quote(f'{work_dir}/config.py')}{resume}"
    return f"{_launched(typed.words)}{resume}"


def cache_command(cfg: Any) -> str:
    """Return what to type to fill the stores of a config, with overrides and plugins as typed: one may name the store.

    Args:
        cfg: The config of this process's run.
    """
    typed = _typed.get()
    if typed is None:
        return shlex.join(["kdhub", "cache", str(getattr(cfg, "filename", None) or "CONFIG")])
    if typed.command == "cache":
        return _launched(typed.words)
    return shlex.join(["kdhub", "cache", typed.config, *typed.options])


def _launched(words: Sequence[str]) -> str:
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return shlex.join(["kdhub", *words])
    processes, here = os.environ["WORLD_SIZE"], os.environ["LOCAL_WORLD_SIZE"]
    # of several machines only the user knows how each was started
    launcher = f"torchrun --standalone --nproc-per-node={here}" if processes == here else "torchrun <as before>"
    return f"{launcher} -m {shlex.join(['kdhub', *words])}"
