"""What a teacher's weights are: their fingerprint, whether anything was learned into them, and whether they are the student's."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdhub.errors import UsageError
from kdhub.fingerprints import json_fallback
from kdhub.rng import seed_generators, untouched_generators

_ANOTHER_SEED = 0x6B64687562
_TOO_LARGE = 2 << 30
"""Bytes of a model that is not built twice, because the second one might not fit into memory."""


def weights_fingerprint(model: nn.Module) -> str:
    """Return the SHA-256 of a model's state: every tensor, and what modules keep by ``get_extra_state``.

    Args:
        model: The model, on any device. Two models with equal entries under equal names have one fingerprint. An extra state that
            is an object of a class counts as far as `kdhub.fingerprints.json_fallback` knows it.
    """
    state = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor):
            state.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            dense = value.detach().cpu() if value.layout is torch.strided else value.detach().cpu().to_dense()
            state.update(dense.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        else:
            state.update(f"{name} {json.dumps(_plain(value), default=json_fallback)}".encode())
    return state.hexdigest()


def _plain(value: Any) -> Any:
    """Write containers so that equal ones give equal JSON, whatever the order and type of their keys."""
    if isinstance(value, Mapping):
        return sorted(([_text(key), _plain(entry)] for key, entry in value.items()), key=_text)
    if isinstance(value, set | frozenset):
        return sorted(map(_plain, value), key=_text)
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, io.BytesIO):
        value = value.getvalue()
    if isinstance(value, bytes | bytearray):
        return hashlib.sha256(value).hexdigest()
    return value


def _text(value: Any) -> str:
    return json.dumps(_plain(value), default=json_fallback)


def drawn_at_random(model: nn.Module, again: Callable[[], nn.Module]) -> bool:
    """Whether all weights of a model come from a generator of random numbers, so that it knows nothing.

    The model is built a second time, with other random numbers. What was read from anywhere is the same in both; what was
    drawn differs; and a tensor with one value throughout, such as a bias of zeros, says nothing. So no model that loads
    weights is ever named, in whatever way it loads them. A model of more than 2 GiB is not built twice.

    Args:
        model: The model as its config built it.
        again: Builds it anew.
    """
    weights = dict(model.named_parameters())
    try:
        if sum(one.numel() * one.element_size() for one in weights.values()) > _TOO_LARGE:
            return False
        with untouched_generators():  # models are built on the CPU
            seed_generators(_ANOTHER_SEED)
            other = dict(again().named_parameters())
    except Exception:  # noqa: BLE001 - a constructor may do anything, and a teacher that was built once must not fail here
        return False
    telling = [name for name, one in weights.items() if name in other and not _is_constant(one)]
    return bool(telling) and not any(_equal(weights[name], other[name]) for name in telling)


def _is_constant(tensor: Tensor) -> bool:
    return tensor.numel() == 0 or bool((tensor == tensor.flatten()[0]).all())


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.cpu(), other.cpu())


def require_apart(student: nn.Module, teacher: nn.Module | None, where: str) -> None:
    """See that student and teacher have nothing in common: what is frozen for the teacher would not train.

    Args:
        student: The student.
        teacher: The teacher's model; ``None`` for one that has none.
        where: Place of the teacher in the config.

    Raises:
        UsageError: If they are one object, or share a module or the memory of a parameter.
    """
    if teacher is None:
        return
    fix = (
        "give the teacher a model of its own: ModelTeacher(copy.deepcopy(student)), before anything freezes the student"
    )
    if teacher is student:
        raise UsageError("the teacher is the student itself, which would be frozen", where=where, fix=fix)
    modules = set(student.modules())
    shared = [name for name, module in teacher.named_modules() if module in modules]
    memory = {one.data_ptr() for one in student.parameters() if one.numel()} - {0}
    shared = shared or [name for name, one in teacher.named_parameters() if one.data_ptr() in memory]
    if shared:
        raise UsageError(
            f"the teacher shares {', '.join(map(repr, shared[:3]))} with the student: a teacher is frozen, so this"
            " would not train in the student",
            where=where,
            fix=fix,
        )


def same_weights(student: nn.Module, teacher: nn.Module) -> bool:
    """Whether two models hold the same parameters and floating-point buffers, whatever their names."""
    ours, theirs = list(_values(student)), list(_values(teacher))
    return bool(ours) and len(ours) == len(theirs) and all(map(_equal, ours, theirs))


def _values(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from (buffer for buffer in model.buffers() if buffer.is_floating_point())
