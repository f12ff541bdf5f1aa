"""mmcv's operators on torchvision's kernels, for an mmcv that was installed without compiled ones.

``import mmcv_ops_torchvision`` before mmdet, or anything else that needs ``mmcv.ops``. mmcv's own Python code stays in use: it
asks for functions of the module ``mmcv._ext``, which only a compiled mmcv has, and this package provides that module. Where
the compiled one is installed, it is taken and this package does nothing.

Which of the two is in use is logged once, at level INFO by the logger ``mmcv_ops_torchvision``, and told by `in_use`.

This package needs torch, torchvision and mmcv, and nothing of kdhub. It imports none of them before mmcv asks.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import logging
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType

EXTENSION = "mmcv._ext"
"""The module that mmcv's Python code takes its operators from."""

OPERATORS = (
    "nms",
    "soft_nms",
    "nms_match",
    "roi_align",
    "roi_pool",
    "deform_conv2d",
    "modulated_deform_conv2d",
    "sigmoid_focal_loss",
    "softmax_focal_loss",
    "MultiScaleDeformableAttention",
)
"""What of ``mmcv.ops`` works on it, on the CPU and on CUDA; beside all that mmcv does in plain torch."""


class Finder:
    """Answers for ``mmcv._ext`` where no compiled one is installed."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return where the module is, or ``None`` for every other module."""
        if name != EXTENSION:
            return None
        log = logging.getLogger(__name__)
        found = importlib.machinery.PathFinder.find_spec(name, path)
        if found is not None:
            log.info("mmcv's operators: compiled")
            return found
        log.info("mmcv's operators: torchvision %s, as mmcv was installed without compiled ones", _torchvision())
        return importlib.util.spec_from_file_location(name, Path(__file__).parent / "ext.py")


def install() -> None:
    """Let ``mmcv._ext`` be found; importing the package does it. Once is enough, more do no harm."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())


def compiled() -> bool:
    """Tell whether mmcv was installed with its compiled operators; imports nothing."""
    spec = importlib.util.find_spec("mmcv")
    folders = spec.submodule_search_locations if spec else None
    return bool(folders) and importlib.machinery.PathFinder.find_spec(EXTENSION, folders) is not None


def in_use() -> str:
    """Return ``'compiled'``, ``'torchvision VERSION'``, or nothing if this process has not asked for operators yet."""
    module = sys.modules.get(EXTENSION)
    if module is None:
        return ""
    return f"torchvision {_torchvision()}" if hasattr(module, "STANDS_IN") else "compiled"


def _torchvision() -> str:
    return metadata.version("torchvision")


install()
