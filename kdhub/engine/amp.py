"""Mixed precision: float16 or bfloat16 on a GPU, bfloat16 on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from kdhub.errors import UsageError

_GPU_WRAPPERS = ("AmpOptimWrapper", "mmengine.AmpOptimWrapper")
_PLAIN_WRAPPERS = ("OptimWrapper", "mmengine.OptimWrapper")
_CPU_WRAPPER = "kdhub.CPUAmpOptimWrapper"


class CPUAmpOptimWrapper(OptimWrapper):
    """Runs the forward pass in bfloat16 on the CPU; weights, gradients and the optimizer stay in float32.

    mmengine's `AmpOptimWrapper` insists on a GPU. bfloat16 has float32's range, so no loss scaling is needed.

    Args:
        **options: As for mmengine's `OptimWrapper`: ``optimizer``, ``accumulative_counts``, ``clip_grad``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter gradient accumulation and autocast for one forward pass."""
        with super().optim_context(model), torch.autocast("cpu", dtype=torch.bfloat16):
            yield


def choose_amp(cfg: Any, requested: bool) -> str | None:
    """Settle the optimizer wrapper of a config on this machine, in place.

    Args:
        cfg: The run's config; ``cfg.optim_wrapper`` may change its ``type`` and precision.
        requested: Whether ``--amp`` was given. Without it only a wrapper that cannot work here is changed.

    Returns:
        One line that says what was decided, or ``None`` if nothing was.

    Raises:
        UsageError: If ``--amp`` meets a wrapper that is neither plain nor mixed precision.
    """
    wrapper = cfg.get("optim_wrapper")
    if wrapper is None:
        return None
    kind = wrapper.get("type", "OptimWrapper")
    if not torch.cuda.is_available():
        return _choose_cpu(wrapper, kind, requested)
    if kind in _GPU_WRAPPERS or not (requested or kind == _CPU_WRAPPER):
        return None
    _require_plain(kind)
    wrapper["type"] = "AmpOptimWrapper"
    if torch.cuda.is_bf16_supported():
        wrapper["dtype"] = "bfloat16"
        return "mixed precision: bfloat16"
    wrapper["dtype"] = "float16"
    wrapper.setdefault("loss_scale", "dynamic")
    return "mixed precision: float16 with loss scaling (this GPU has no bfloat16)"


def _choose_cpu(wrapper: Any, kind: Any, requested: bool) -> str | None:
    if kind == _CPU_WRAPPER or not (requested or kind in _GPU_WRAPPERS):
        return None
    _require_plain(kind)
    for option in ("loss_scale", "dtype", "use_fsdp"):
        wrapper.pop(option, None)
    wrapper["type"] = _CPU_WRAPPER
    return "mixed precision: bfloat16 on the CPU" + (" (AmpOptimWrapper needs a GPU)" if kind in _GPU_WRAPPERS else "")


def _require_plain(kind: Any) -> None:
    if kind not in (*_PLAIN_WRAPPERS, *_GPU_WRAPPERS, _CPU_WRAPPER):
        raise UsageError(
            "--amp cannot be combined with this optimizer wrapper",
            where="optim_wrapper.type",
            expected="OptimWrapper",
            got=str(kind),
            fix="leave --amp out, or name a mixed-precision wrapper in the config",
        )
