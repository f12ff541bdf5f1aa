"""Facts about the surroundings of a run: versions, machine, source control."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_LIBRARIES = ("torch", "torchvision", "onedl-mmengine", "mmengine", "numpy")
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def versions(distributions: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the versions of Python, kdhub, the libraries under it and ``distributions``, as far as installed."""
    found = {"python": platform.python_version()}
    for name in ("kdhub", *_LIBRARIES, *distributions):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, Any]:
    """Describe the processor and the devices."""
    facts: dict[str, Any] = {
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        facts["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        facts["cuda"] = torch.version.cuda
    return facts


def forget_peak_memory() -> None:
    """Begin to measure anew: a second run of a process would be charged what the first one held. Linux alone can."""
    with suppress(OSError):
        _RESET.write_text("5", encoding="ascii")


def peak_memory() -> dict[str, int]:
    """Return the most bytes that this process has held since it began, or on Linux since `forget_peak_memory`, where known.

    Mmengine logs those on a GPU line by line.
    """
    with suppress(OSError, StopIteration):
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
        return {"memory": next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))}
    found = {}
    with suppress(ImportError):  # Windows has no such module
        import resource

        # macOS counts bytes, others kibibytes
        found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return found


def command_line() -> str:
    """Return what was typed, as it can be typed again."""
    program = Path(sys.argv[0])
    start = program.name if program.suffix != ".py" else f"python {os.path.relpath(program)}"
    return shlex.join([*start.split(" ", 1), *sys.argv[1:]])


def source_commit(folder: Path) -> dict[str, Any] | None:
    """Return the git commit of a folder and whether its files differ from it; ``None`` outside of git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "modified": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    ).stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
