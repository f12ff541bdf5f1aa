"""Values that stand in a config and cannot be written into one: the run's ``config.py`` and checkpoints hold it as text."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from numbers import Number
from pathlib import PurePath
from typing import Any

from kdhub.findings import Report

_PLAIN = (str, Number, type(None), type)
"""Nearly all that stands in a config; numbers of numpy are numbers too."""


def check_writable(value: Any, path: str, report: Report) -> None:
    """Report paths, arrays, functions and other objects, for which mmengine writes what is no Python.

    Args:
        value: What stands in the config.
        path: Its key path; empty for the whole config.
        report: Where findings go.
    """
    if isinstance(value, Mapping):
        for key, child in value.items():
            check_writable(child, f"{path}.{key}" if path else str(key), report)
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            check_writable(child, f"{path}.{index}", report)
    elif not isinstance(value, _PLAIN) and not _is_written(value):
        report.error(
            path,
            f"no config file can hold this {type(value).__name__}",
            expected="text, a number, a class, or lists and dicts of them",
            got=repr(value)[:80],
            fix="write str(...)"
            if isinstance(value, PurePath)
            else "write down what it is made from, or del a helper at the end of the file",
        )


def config_text(cfg: Any) -> str:
    """Write a config as Python that any process can read.

    mmengine writes the bare name of a class, such as ``type=mmseg.models.EncoderDecoder``, and imports nothing for it. Here it
    is the text of its import path, which registries take as well.

    Args:
        cfg: A config of mmengine.
    """
    from mmengine.config import Config

    return str(Config(_without_classes(cfg.to_dict())).pretty_text)


def _without_classes(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_classes(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_without_classes(child) for child in value])
    if isinstance(value, type) and value.__module__ != "builtins":
        return f"{value.__module__}.{value.__qualname__}"
    return value


def _is_written(value: Any) -> bool:
    if isinstance(value, PurePath):  # its text may be Python by chance: a/b divides
        return False
    try:
        ast.parse(str(value), mode="eval")
    except (SyntaxError, ValueError):
        return False
    return True
