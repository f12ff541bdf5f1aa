"""Mixed precision: float16 or bfloat16 on a GPU or another accelerator, bfloat16 on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from kdhub.errors import UsageError

_MMENGINE_WRAPPER = "AmpOptimWrapper"
_MMENGINE_DEVICES = ("cuda", "npu", "mlu", "musa")
"""Where mmengine's wrapper works."""

_PLAIN_WRAPPER = "OptimWrapper"
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
        cfg: The run's config; ``cfg.optim_wrapper``, or each of several in it, may change its ``type`` and precision.
        requested: Whether ``--amp`` was given. Without it only a wrapper that cannot work here is changed.

    Returns:
        One line that says what was decided, or ``None`` if nothing was.

    Raises:
        UsageError: If ``--amp`` meets a wrapper that is neither plain nor mixed precision, or if this machine's device
            has no mixed precision.
    """
    wrapper = cfg.get("optim_wrapper")
    if wrapper is None:
        return None
    wrappers = _single_wrappers(wrapper)
    if requested and not wrappers:
        raise UsageError(
            "--amp cannot tell which optimizer wrappers this config builds",
            where="optim_wrapper",
            expected="a dict with an optimizer, or dicts of that kind by name",
            got=type(wrapper).__name__ if not isinstance(wrapper, Mapping) else ", ".join(map(str, wrapper)),
            fix="leave --amp out, and choose mixed precision where the wrappers are built",
        )
    said = [_choose(one, where, requested) for where, one in wrappers.items()]
    return next(filter(None, said), None)


def _single_wrappers(wrapper: Any) -> dict[str, Any]:
    """Return the wrappers of a config by their key path: itself, or those that a constructor makes of its entries."""
    if not isinstance(wrapper, Mapping):
        return {}
    if "optimizer" in wrapper:
        return {"optim_wrapper": wrapper}
    return {
        f"optim_wrapper.{name}": entry
        for name, entry in wrapper.items()
        if isinstance(entry, Mapping) and "optimizer" in entry
    }


def _choose(wrapper: Any, where: str, requested: bool) -> str | None:
    kind, device = _named(wrapper.get("type", _PLAIN_WRAPPER)), get_device()
    mixed = kind in (_MMENGINE_WRAPPER, _CPU_WRAPPER)
    works = kind == _CPU_WRAPPER if device == "cpu" else kind == _MMENGINE_WRAPPER and device in _MMENGINE_DEVICES
    if works or not (requested or mixed):
        return None
    if device not in ("cpu", *_MMENGINE_DEVICES):
        raise UsageError(
            f"there is no mixed precision for {device} devices",
            where=where,
            got="--amp" if requested else kind,
            fix="leave --amp out" if requested else f"{where}.type=OptimWrapper",
        )
    if not mixed and kind != _PLAIN_WRAPPER:
        raise UsageError(
            "--amp cannot be combined with this optimizer wrapper",
            where=f"{where}.type",
            expected="OptimWrapper",
            got=kind,
            fix="leave --amp out, or name a mixed-precision wrapper in the config",
        )
    wrapper["type"] = _CPU_WRAPPER if device == "cpu" else _MMENGINE_WRAPPER
    if device == "cpu":
        for option in ("loss_scale", "dtype", "use_fsdp"):
            wrapper.pop(option, None)
        return "mixed precision: bfloat16 on the CPU" + (" (AmpOptimWrapper needs a GPU)" if mixed else "")
    if device == "cuda" and torch.cuda.is_bf16_supported():
        wrapper["dtype"] = "bfloat16"
        return "mixed precision: bfloat16"
    wrapper["dtype"] = "float16"
    wrapper.setdefault("loss_scale", "dynamic")
    without = " (this GPU has no bfloat16)" if device == "cuda" else f" on {device}"
    return f"mixed precision: float16 with loss scaling{without}"


def _named(kind: Any) -> str:
    """Return the short name of a wrapper, which new-style configs name by its class or by where it can be imported from."""
    name = f"{kind.__module__}.{kind.__qualname__}" if isinstance(kind, type) else str(kind)
    short = name.rpartition(".")[2]
    return {"mmengine": short, "kdhub": f"kdhub.{short}"}.get(name.partition(".")[0], name)
