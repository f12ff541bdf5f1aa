"""What counts of a value that JSON has no form for, the same in every process."""

from __future__ import annotations

import hashlib
from pathlib import PurePath
from typing import Any

import numpy as np
import torch


def described(value: Any) -> Any:
    """Write for JSON what it has no form for, as ``json.dumps(..., default=described)``.

    Returns:
        Of an array or tensor its dtype, shape and the SHA-256 of its values; of a path its text; of anything else the name
        of its class, or its own if it is a class or function: its ``repr`` may hold an address, which differs in every process.
    """
    if isinstance(value, torch.Tensor):
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return [str(value.dtype), *value.shape, hashlib.sha256(data).hexdigest()]
    if isinstance(value, np.ndarray) and value.dtype != object:
        return [str(value.dtype), *value.shape, hashlib.sha256(value.tobytes()).hexdigest()]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, PurePath):
        return str(value)
    owner = value if hasattr(value, "__qualname__") else type(value)
    return f"{owner.__module__}.{owner.__qualname__}"
