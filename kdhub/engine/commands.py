"""What to type to go on with a run: what was typed before, with ``--resume``."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

_RESUME = "--resume"


def resume_command(work_dir: str | Path) -> str:
    """Return what to type to go on with the run of a work_dir.

    A process that was started by ``kdhub train`` or ``tools/train.py`` repeats its own command line, config and overrides
    as they were typed, also under torchrun. Any other only knows the resolved config that the run left in its work_dir.
    """
    typed = _typed()
    if typed is None:
        folder = os.path.relpath(work_dir) if Path(work_dir).resolve().is_relative_to(Path.cwd()) else str(work_dir)
        return f"kdhub train {Path(folder, 'config.py')} {_RESUME}"
    return f"{_launcher()}{shlex.join(typed)} {_RESUME}"


def _typed() -> list[str] | None:
    """Return this process's command line without ``--resume``; ``None`` if it is no training command."""
    program = Path(sys.argv[0])
    arguments = _without_resume(sys.argv[1:])
    if program.name == "train.py" and program.parent.name == "tools":
        script = os.path.relpath(program)
        return [script, *arguments] if _under_torchrun() else ["python", script, *arguments]
    if program.name in ("kdhub", "kdhub.exe") and "train" in arguments:
        return ["kdhub", *arguments]
    return None


def _without_resume(arguments: list[str]) -> list[str]:
    kept = []
    waiting = list(arguments)
    while waiting:
        one = waiting.pop(0)
        if one == _RESUME and waiting and waiting[0].endswith(".pth"):
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
