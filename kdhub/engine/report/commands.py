"""What to type to go on with a run, or to fill the stores of its teachers: made of what was typed before."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdhub.engine.workdir.work_dir import latest_checkpoint
from kdhub.errors import UsageError
from kdhub.plugins.switches import typed_switches

_RESUME = "--resume"
_OVERRIDES = "--cfg-options"
_CACHE = "kdhub cache CONFIG"
_COMMANDS = ("train", "test", "cache")
_RECIPE = re.compile(r"[\w-]+:[\w.-]+")


def resume_command(work_dir: str | Path) -> str:
    """Return what to type to go on with the run of a work_dir, or to begin anew if it has saved nothing.

    A process that was started by ``kdhub train`` or ``tools/train.py`` repeats its own command line, config and overrides
    as they were typed, also under torchrun. Any other only knows the resolved config that the run left in its work_dir.
    """
    typed = _typed("train", "train.py")
    resume = f" {_RESUME}" if latest_checkpoint(Path(work_dir)) is not None else ""
    if typed is None:
        return f"kdhub train {shlex.quote(_seen_from_here(Path(work_dir, 'config.py')))}{resume}"
    return f"{_launcher()}{shlex.join(typed)}{resume}"


def cache_command(cfg: Any) -> str:
    """Return what to type to fill the stores of a config, with overrides and plugins as typed: one may name the store.

    Args:
        cfg: The config of this process's run.
    """
    typed = _typed("cache", "cache_teacher.py")
    if typed is not None:
        return f"{_launcher()}{shlex.join(typed)}"
    training = _typed("train", "train.py") or []
    switches = typed_switches(training)
    recipe = next(
        (one for one in training if _RECIPE.fullmatch(one) and one not in switches), None
    )  # -p no:NAME is none
    filename = getattr(cfg, "filename", None)
    config = recipe or (_seen_from_here(Path(filename)) if filename else "CONFIG")
    return shlex.join(["kdhub", "cache", config, *switches, *_overrides(training)])


@contextmanager
def naming_cache_command(cfg: Any) -> Iterator[None]:
    """Put what to type in the place of ``kdhub cache CONFIG``, which is all that a store can say, in errors of a block."""
    try:
        yield
    except UsageError as error:
        if _CACHE in (error.fix or ""):
            error.replace_fix(str(error.fix).replace(_CACHE, cache_command(cfg)))
        raise


def _overrides(arguments: list[str]) -> list[str]:
    kept, taking = [], False
    for one in arguments:
        taking = one.startswith(_OVERRIDES) if one.startswith("-") else taking
        if taking:
            kept.append(one)
    return kept


def _seen_from_here(path: Path) -> str:
    return os.path.relpath(path) if path.resolve().is_relative_to(Path.cwd()) else str(path)


def _typed(command: str, tool: str) -> list[str] | None:
    """Return this process's command line without ``--resume``; ``None`` if it is not that command or script."""
    program = Path(sys.argv[0])
    arguments = _without_resume(sys.argv[1:])
    if program.name == tool and program.parent.name == "tools":
        script = os.path.relpath(program)
        return [script, *arguments] if _under_torchrun() else ["python", script, *arguments]
    if program.name in ("kdhub", "kdhub.exe") and next((one for one in arguments if one in _COMMANDS), None) == command:
        return ["kdhub", *arguments]
    return None


def _without_resume(arguments: list[str]) -> list[str]:
    kept = []
    waiting = list(arguments)
    while waiting:
        one = waiting.pop(0)
        if one == _RESUME and waiting and not waiting[0].startswith("-"):
            waiting.pop(0)
        elif one != _RESUME and not one.startswith(f"{_RESUME}="):
            kept.append(one)
    return kept


def _under_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _launcher() -> str:
    if not _under_torchrun():
        return ""
    processes, here = os.environ["WORLD_SIZE"], os.environ["LOCAL_WORLD_SIZE"]
    # of several machines only the user knows how each was started
    return f"torchrun --standalone --nproc-per-node={here} " if processes == here else "torchrun <as before> "
