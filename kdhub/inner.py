"""What is inside a model: the one in wrappers for training, and the module that a model stands for.

Paths, probe, weights and export of a model that stands for another module are then that module's.
"""

from __future__ import annotations

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn

INNER = "kdhub_inner"
"""Attribute by which a model names the module that it stands for."""


def inner_of(model: Any) -> Any:
    """Return the module that a model stands for; a model without the attribute stands for itself."""
    while (inner := getattr(model, INNER, None)) is not None:
        model = inner
    return model


def unwrapped(model: Any) -> Any:
    """Take off what stands around a model for training: DDP, FSDP and ``torch.compile``."""
    while True:
        if hasattr(model, "_orig_mod"):  # torch.compile
            model = model._orig_mod
        elif hasattr(model, "_fsdp_wrapped_module"):
            model = model._fsdp_wrapped_module
        elif is_model_wrapper(model):
            model = model.module
        else:
            return model


def described_model(model: nn.Module) -> dict[str, Any]:
    """Return ``type``, the name of its class, and ``parameters``, their number."""
    meant = inner_of(model)
    return {"type": type(meant).__name__, "parameters": parameter_count(meant)}


def parameter_count(model: nn.Module) -> int:
    """Count a model's parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
