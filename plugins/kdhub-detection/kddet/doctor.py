"""What can be wrong with an installation for detection."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata

import mmcv_ops_torchvision
from kdhub.api import Diagnostic


def diagnostics() -> Iterator[Diagnostic]:
    """Yield one line for mmdet and one for what stands under mmcv's operators."""
    yield _mmdet()
    yield _operators()


def _mmdet() -> Diagnostic:
    found = {name: version for name in ("onedl-mmdetection", "mmdet") if (version := _version(name))}
    if len(found) > 1:
        return Diagnostic(
            "fail",
            "mmdet",
            "onedl-mmdetection and mmdet are both installed and own the same folder",
            "pip uninstall -y mmdet onedl-mmdetection, then pip install kdhub-detection again",
        )
    if not found:
        return Diagnostic("fail", "mmdet", "not installed", "pip install onedl-mmdetection")
    return Diagnostic("ok", "mmdet", " ".join(*found.items()))


def _operators() -> Diagnostic:
    title = "mmcv's operators"
    version = _version("onedl-mmcv") or _version("mmcv")
    if not version:
        return Diagnostic("fail", title, "mmcv is not installed", "pip install onedl-mmcv")
    if mmcv_ops_torchvision.compiled():
        return Diagnostic("ok", title, f"compiled, of mmcv {version}")
    names = ", ".join(mmcv_ops_torchvision.OPERATORS)
    torchvision = _version("torchvision")
    return Diagnostic("ok", title, f"not compiled in mmcv {version}; torchvision {torchvision} stands in for: {names}")


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
