"""Buffers whose content no state dict carries: those registered as not persistent, and those of other processes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def unsaved_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that a model's ``state_dict()`` leaves out, such as memory banks and a preprocessor's constants."""
    named = dict(model.named_buffers())
    unsaved = {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        for name in module._non_persistent_buffers_set
    }
    return {name: buffer for name, buffer in named.items() if name in unsaved}


def buffer_checksums(buffers: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Return a checksum of each buffer's shape, type and content."""
    return {name: _checksum(buffer) for name, buffer in buffers.items()}


def restore_buffers(model: nn.Module, saved: Mapping[str, Tensor]) -> list[str]:
    """Put buffers back.

    Args:
        model: Its buffers are changed in place where that can be, as others may hold them too.
        saved: Name to content, on the model's device; names that the model has no more are passed over.

    Returns:
        Names of buffers that have another shape now, and were left as they are.
    """
    misfits = []
    modules = dict(model.named_modules())
    for name, value in saved.items():
        path, _, attribute = name.rpartition(".")
        owner = modules.get(path)
        if owner is None or attribute not in owner._buffers:
            continue
        present = owner._buffers[attribute]
        if present is None or present.numel() == 0:  # training filled it
            setattr(owner, attribute, value)
        elif present.shape != value.shape:
            misfits.append(name)
        else:
            with torch.no_grad():
                present.copy_(value)
    return misfits


def _checksum(buffer: Tensor) -> bytes:
    content = buffer.detach().cpu().reshape(-1).view(torch.uint8)
    state = hashlib.blake2b(f"{tuple(buffer.shape)} {buffer.dtype}".encode(), digest_size=16)
    state.update(content.numpy().data)
    return state.digest()
