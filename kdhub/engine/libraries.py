"""Importing the library whose scope a config uses, without what it prints on the way."""

from __future__ import annotations

import importlib
import io
import warnings
from contextlib import redirect_stdout, suppress
from typing import Any


def import_library(cfg: Any) -> None:
    """Import the library of ``default_scope`` ahead of mmengine, which would do it in the middle of building.

    mmseg and mmcv warn and print about parts that are not installed, whether or not anybody uses them; what a config does
    need and lacks is told by the config check. A library that is missing is left to mmengine, which names it.

    Args:
        cfg: The config.
    """
    scope = cfg.get("default_scope")
    if scope in (None, "mmengine"):
        return
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), suppress(ImportError, AttributeError):
        warnings.simplefilter("ignore")
        importlib.import_module(f"{scope}.utils").register_all_modules(init_default_scope=False)
