"""The core's part of ``kdhub doctor``: Python, torch, mmengine, disk and data. Plugins are the manager's part."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from kdhub.files import DATA_VARIABLE
from kdhub.records import Diagnostic

_SAFE_TORCH = Version("2.6")
"""Before it, even ``weights_only=True`` could be made to run code (CVE-2025-32434)."""
_OPENCV = (
    "opencv-python-headless",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
)
"""Distributions of cv2; the first needs no graphics library."""
_LITTLE_SPACE = 2 * 1024**3


def diagnose() -> Iterator[Diagnostic]:
    """Look at the core's own stack, without changing anything."""
    yield Diagnostic("ok", "Python", platform.python_version())
    yield _torch()
    yield _device()
    yield _torchvision()
    yield _mmengine()
    yield _opencv()
    yield _disk(Path.cwd())
    yield _data(os.environ.get(DATA_VARIABLE))


def _torch() -> Diagnostic:
    found = _version("torch")
    if found is None:
        return Diagnostic("fail", "torch", "not installed", "pip install torch")
    if Version(found) < _SAFE_TORCH:
        return Diagnostic(
            "fail",
            "torch",
            f"{found} can be made to run code by a checkpoint (CVE-2025-32434)",
            "pip install 'torch>=2.6'",
        )
    return Diagnostic("ok", "torch", found)


def _device() -> Diagnostic:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return Diagnostic("ok", "devices", f"CUDA {torch.version.cuda}: {', '.join(names)}")
    threads = f"CPU, {torch.get_num_threads()} of {os.cpu_count()} cores"
    if torch.version.cuda and Path("/proc/driver/nvidia").exists():
        return Diagnostic(
            "warn", "devices", f"{threads}; there is an NVIDIA driver, but torch cannot use it", "nvidia-smi"
        )
    return Diagnostic("ok", "devices", threads)


def _torchvision() -> Diagnostic:
    found = _version("torchvision")
    if found is None:
        return Diagnostic("ok", "torchvision", "not installed; the core does not need it")
    for text in metadata.requires("torchvision") or ():
        needed = Requirement(text)
        installed = _version("torch")
        if needed.name == "torch" and installed and not needed.specifier.contains(installed, prereleases=True):
            return Diagnostic(
                "fail",
                "torchvision",
                f"{found} was built for torch{needed.specifier}, but torch is {installed}",
                "pip install --upgrade torch torchvision",
            )
    return Diagnostic("ok", "torchvision", found)


def _mmengine() -> Diagnostic:
    found = {name: version for name in ("onedl-mmengine", "mmengine", "mmengine-lite") if (version := _version(name))}
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    if len(found) > 1:
        return Diagnostic(
            "fail",
            "mmengine",
            f"{listed} own the same folder, so parts of each are in use",
            f"pip uninstall -y {' '.join(found)}; pip install onedl-mmengine",
        )
    if not found:
        return Diagnostic("fail", "mmengine", "not installed", "pip install onedl-mmengine")
    return Diagnostic("ok", "mmengine", listed)


def _opencv() -> Diagnostic:
    found = {name: version for name in _OPENCV if (version := _version(name))}
    if importlib.util.find_spec("cv2") is None:
        return Diagnostic(
            "fail", "OpenCV", "mmengine's runner imports cv2, which is not there", "pip install opencv-python-headless"
        )
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    if len(found) > 1:
        others = " ".join(name for name in found if name != _OPENCV[0])
        return Diagnostic(
            "warn",
            "OpenCV",
            f"{listed} own the same folder, so that an update or removal of one damages the other",
            f"pip uninstall -y {others}; pip install --force-reinstall --no-deps {_OPENCV[0]}",
        )
    return Diagnostic("ok", "OpenCV", listed or "present")


def _disk(folder: Path) -> Diagnostic:
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1024**3:.1f} GiB free in {folder}"
    if free < _LITTLE_SPACE:
        return Diagnostic("warn", "disk", detail, "free some space, or train with --work-dir on another disk")
    return Diagnostic("ok", "disk", detail)


def _data(folder: str | None) -> Diagnostic:
    if folder is None:
        return Diagnostic("ok", "data", f"{DATA_VARIABLE} is not set: data sets are looked for in data/")
    if not Path(folder).is_dir():
        return Diagnostic(
            "fail", "data", f"{DATA_VARIABLE}={folder} is no folder", f"export {DATA_VARIABLE}=FOLDER, or unset it"
        )
    return Diagnostic("ok", "data", f"{DATA_VARIABLE}={folder}")


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
