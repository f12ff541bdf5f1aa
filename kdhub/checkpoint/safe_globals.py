"""What an mmengine checkpoint holds besides tensors, and may therefore be rebuilt: numbers of numpy, and log histories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer

_STATISTICS = ("min", "max", "current", "mean")


def _history_statistic(owner: Any, name: str) -> Callable[..., Any]:
    """Stand in for ``getattr``, which a `HistoryBuffer` is pickled with and which would open every attribute."""
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise ValueError(f"GLOBAL getattr({getattr(owner, '__name__', owner)!r}, {name!r})")
    statistic: Callable[..., Any] = vars(HistoryBuffer)[name]
    return statistic


def safe_globals() -> list[Any]:
    """List what `torch.load` may rebuild besides its own allow-list.

    Returns:
        Entries for `torch.serialization.safe_globals`. Each is data without behaviour: numpy arrays and scalars of
        number types (not of objects), and mmengine's `HistoryBuffer` with its four statistics. Numpy's two functions
        stand under the module names of numpy 1 and of numpy 2, so that either reads the other's files.
    """
    rebuild_array = np.empty(0).__reduce__()[0]
    rebuild_scalar = np.float64(0).__reduce__()[0]
    numbers = {type(np.dtype(code)) for code in np.typecodes["All"] if code not in "OSUVMm"}
    return [
        np.ndarray,
        np.dtype,
        *numbers,
        *((rebuild_array, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
        *((rebuild_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
        HistoryBuffer,
        (_history_statistic, "builtins.getattr"),
    ]
