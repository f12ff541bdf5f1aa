"""What counts of a value that JSON has no form for, the same in every process."""

from __future__ import annotations

import copyreg
import hashlib
import json
import logging
import pickle
import re
import sys
import types
import uuid
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

_PLAIN = (str, int, float, bool, type(None))
_NAMED = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_NO_CONTENT = (TypeError, ValueError, AttributeError, RuntimeError, pickle.PickleError)
"""What Python and its libraries raise for a value that cannot be pickled."""


def json_fallback(value: Any) -> Any:
    """Write for JSON what it has no form for, as ``json.dumps(..., default=json_fallback)``.

    Returns:
        The content of the value, in plain values without addresses:

        * an array or tensor: dtype, shape and the SHA-256 of its values; a path: its text;
        * a class, module or function that can be imported: its name; any other function: also its code, constants, defaults
          the variables that it closes over, and the plain values of its module that it names;
        * a `torch.nn.Module`: its structure without its weights, which training changes;
        * an object with a ``fingerprint()``: what that returns; any other object: what `pickle` would keep of it;
        * a value that nothing can be kept of, such as an open file: text that never comes twice, so that it differs from
          everything. A warning names it.
    """
    try:
        return _content(value, ())
    except RecursionError as error:
        return _unlike_any(value, error)


def _content(value: Any, within: tuple[Any, ...]) -> Any:
    """Describe a value, given the values that it is part of."""
    if isinstance(value, _PLAIN):
        return value
    if any(value is one for one in within):
        return ["part of itself"]
    within = (*within, value)
    if isinstance(value, Mapping):
        return _mapping(value, within)
    if isinstance(value, (list, tuple)):
        return [_content(entry, within) for entry in value]
    if isinstance(value, (set, frozenset)):
        # a set comes in another order in each process
        return [_name(type(value)), sorted((_content(entry, within) for entry in value), key=json.dumps)]
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return [str(value.dtype), *value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, np.ndarray | np.generic):
        return _content(value.tolist(), within)
    if isinstance(value, torch.nn.Module):
        return [_name(type(value)), _ADDRESS.sub("", repr(value))]
    if isinstance(value, type) or (isinstance(value, _NAMED) and _can_be_imported(value)):
        return _name(value)
    try:
        parts = _parts(value)
    except _NO_CONTENT as error:
        return _unlike_any(value, error)
    return [_content(part, within) for part in parts]


def _unlike_any(value: Any, error: Exception) -> str:
    print_log(
        f"a {_name(type(value))} cannot be compared with that of another run, so it counts as another one ({error})",
        "current",
        logging.WARNING,
    )
    return f"{_name(type(value))} {uuid.uuid4()}"


def _mapping(value: Mapping[Any, Any], within: tuple[Any, ...]) -> Any:
    if all(isinstance(key, str) for key in value):
        return {key: _content(entry, within) for key, entry in value.items()}
    return [[_content(key, within), _content(entry, within)] for key, entry in value.items()]


def _parts(value: Any) -> list[Any]:
    """Return what counts of an object, itself still to be described."""
    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu().to_dense().resolve_conj().resolve_neg()
        data = plain.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return [str(value.dtype), *value.shape, hashlib.sha256(data).hexdigest()]
    if isinstance(value, types.FunctionType):
        closed_over = [cell.cell_contents for cell in value.__closure__ or ()]
        named = {name: value.__globals__.get(name) for name in value.__code__.co_names}
        read = {name: one for name, one in named.items() if isinstance(one, (*_PLAIN, list, tuple, Mapping, set))}
        return [_name(value), value.__code__, value.__defaults__, value.__kwdefaults__, closed_over, read]
    if isinstance(value, types.CodeType):
        return [value.co_code.hex(), value.co_names, value.co_consts]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return [_name(type(value)), bytes(value).hex()]
    own = getattr(value, "fingerprint", None)
    if callable(own):
        return [_name(type(value)), own()]
    reduce = copyreg.dispatch_table.get(type(value))
    kept = value.__reduce_ex__(2) if reduce is None else reduce(value)
    if isinstance(kept, str):  # the name of something global
        return [_name(type(value)), kept]
    function, arguments, state, entries, items = (*kept, None, None, None)[:5]
    return [_name(type(value)), function, arguments, state, _all(entries), _all(items)]


def _all(entries: Iterable[Any] | None) -> list[Any] | None:
    return None if entries is None else list(entries)


def _name(value: Any) -> str:
    return value.__name__ if isinstance(value, types.ModuleType) else f"{value.__module__}.{value.__qualname__}"


def _can_be_imported(value: Any) -> bool:
    """Whether a name leads to this value and no other, unlike that of a function made within another one."""
    if isinstance(value, types.ModuleType):
        return True
    found: Any = sys.modules.get(value.__module__ or "")
    for part in value.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is value
