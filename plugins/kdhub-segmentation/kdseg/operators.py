"""Which of mmseg's models need mmcv's compiled operators or mmdet, and whether they are here; imports neither."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

NEED_OPERATORS: Mapping[str, str] = {
    "CCHead": "DAHead or DNLHead, which attend over all positions with torch alone",
    "PSAHead": "DAHead or DNLHead, which attend over all positions with torch alone",
    "PointHead": "the model without PointHead as last stage of its cascade",
    "SideAdapterCLIPHead": "any head that gives a logit for each class and position, such as SegformerHead",
}
"""Class of mmseg that calls ``mmcv.ops``, and what to use instead."""

NEED_MMDET: Mapping[str, str] = {
    "MaskFormerHead": "any head that gives a logit for each class and position, such as SegformerHead",
    "Mask2FormerHead": "any head that gives a logit for each class and position, such as SegformerHead",
}
"""Class of mmseg that is built on mmdet, and what to use instead."""


def has_operators() -> bool:
    """Tell whether mmcv was installed with its compiled operators."""
    spec = importlib.util.find_spec("mmcv")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return any(any(Path(folder).glob("_ext.*")) for folder in folders)


def has_mmdet() -> bool:
    """Tell whether mmdet is installed."""
    return importlib.util.find_spec("mmdet") is not None
