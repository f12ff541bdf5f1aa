"""The one rule by which a model stands for the module inside it: paths, probe, weights and export are then that module's."""

from __future__ import annotations

from typing import Any

INNER = "kdhub_inner"
"""Attribute by which a model names the module that it stands for."""


def inner_of(model: Any) -> Any:
    """Return the module that a model stands for; a model without the attribute stands for itself."""
    while (inner := getattr(model, INNER, None)) is not None:
        model = inner
    return model
