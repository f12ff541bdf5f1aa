"""Half precision for live teachers: measured against float32 on the first batches, logged, refused above a limit."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from torch import Tensor

from kdhub.distill.taps import Tap
from kdhub.errors import UsageError
from kdhub.values import tensors_in

PRECISIONS = ("float32", "bfloat16", "auto", "amp")
"""What a live teacher's ``precision`` may be."""

BATCHES = 3
"""How many of the first batches are answered in both precisions; each costs a forward pass in float32 more."""


class Forward(Protocol):
    """One pass of the teacher, without gradients."""

    def __call__(self, taps: Sequence[Tap], dtype: torch.dtype) -> None:
        """Run with ``taps`` attached, in float32 or under autocast to ``dtype``."""


class HalfPrecision:
    """Runs a teacher in half precision once this is known to change little in what its taps read.

    On the first batches the teacher answers in both precisions. The error of a tap is the largest of
    ``‖half − exact‖ / ‖exact‖`` over its tensors and those batches (2-norms of whole tensors; for whole numbers, such as
    class indices, the share that differs). No batch is answered in half precision after an error above the limit was
    seen, that batch included.

    *Why autocast* and not converted weights: on a ResNet-34 both take the same time to 2 %, and under autocast the weights, and so
    the fingerprint, stay as they are, and what needs the range (softmax, norms, losses) is left in float32 by torch.

    Args:
        choice: ``"bfloat16"`` stops the run if the error is above the limit; ``"auto"`` takes what the device has
            (bfloat16; float16 on a GPU without it) and falls back to float32, with a line in the log.
        max_error: The limit.
    """

    def __init__(self, choice: str, max_error: float) -> None:
        self.choice = choice
        self.max_error = max_error
        self._dtype: torch.dtype | None = None
        self._batches = 0
        self._errors: dict[str, float] = {}

    def answer(self, forward: Forward, taps: Sequence[Tap], device: torch.device) -> None:
        """Run the teacher once in the precision in force, so that afterwards the taps can be read.

        With ``"auto"`` all processes of a run decide together, so each must answer as many batches as the others.

        Args:
            forward: Runs the teacher; called up to three times in one of the first batches.
            taps: Taps to attach.
            device: Where the teacher runs.

        Raises:
            UsageError: If ``"bfloat16"`` was asked for and the device has none, or the error is above the limit.
        """
        if self._dtype is None:
            self._dtype = self._choose(device)
        if self._dtype is torch.float32 or self._batches == BATCHES:
            forward(taps, self._dtype)
            return
        found = _compare(forward, taps, self._dtype, device)
        if self.choice == "auto":
            found = _worst_of_all_processes(found)
        self._batches += 1
        self._errors = {name: max(error, self._errors.get(name, 0.0)) for name, error in found.items()}
        worst = max(self._errors, key=self._errors.__getitem__, default="")
        if self._errors and self._errors[worst] > self.max_error:
            self._refuse(worst)
            forward(taps, self._dtype)
        elif self._batches == BATCHES:
            for name in self._errors:
                print_log(f"teacher: {self._said(name)}", "current")

    def state(self) -> dict[str, Any]:
        """Return what was measured and decided, as plain values for a checkpoint and the run card."""
        return {
            "precision": None if self._dtype is None else _name(self._dtype),
            "batches": self._batches,
            "errors": dict(self._errors),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned, so that a resumed run decides nothing anew."""
        precision = state["precision"]
        self._dtype = None if precision is None else getattr(torch, precision)
        self._batches = int(state["batches"])
        self._errors = dict(state["errors"])

    def _choose(self, device: torch.device) -> torch.dtype:
        has_bfloat16 = {"cuda": torch.cuda.is_bf16_supported, "cpu": _cpu_has_bfloat16}.get(
            device.type, lambda: False
        )()
        if self.choice == "auto":
            if has_bfloat16 or device.type == "cuda":
                return torch.bfloat16 if has_bfloat16 else torch.float16
            print_log(f"teacher stays in float32: this {device.type.upper()} has no bfloat16", "current")
            return torch.float32
        if device.type == "cuda" and not has_bfloat16:
            raise UsageError(
                "a teacher in bfloat16 on a GPU that has none",
                fix="set precision='auto' (float16 here) or 'float32'",
            )
        return torch.bfloat16

    def _refuse(self, worst: str) -> None:
        """Fall back to float32, or stop."""
        said = self._said(worst)
        if self.choice != "auto":
            raise UsageError(
                f"the teacher is not precise enough in {said}",
                expected=f"at most {self.max_error:g}",
                fix="set precision='float32', or raise max_error if the student can bear it",
            )
        for name in self._errors:
            if name != worst:
                print_log(f"teacher: {self._said(name)}", "current")
        print_log(f"teacher stays in float32: {said}, above max_error={self.max_error:g}", "current")
        self._dtype = torch.float32

    def _said(self, tap: str) -> str:
        error = self._errors[tap]
        differs = f"differs from float32 by {error:.2g} of its norm" if math.isfinite(error) else "cannot be compared"
        batches = "1 batch" if self._batches == 1 else f"{self._batches} batches"
        return f"{_name(self._dtype)}: {tap} {differs} (worst of {batches})"


def relative_error(half: Any, exact: Any) -> float:
    """Compare what one tap read in two precisions.

    Args:
        half: Value in half precision: a tensor, or tensors in nested tuples, lists and mappings.
        exact: The same in float32.

    Returns:
        The largest relative error of its tensors; infinite if there are none, if number or shapes differ, or if an entry
        became infinite or NaN. Entries that are −∞ on both sides ("never") are equal.
    """
    pairs = list(tensors_in(half)), list(tensors_in(exact))
    if not pairs[0] or len(pairs[0]) != len(pairs[1]):
        return math.inf
    return max(_tensor_error(ours, theirs) for ours, theirs in zip(*pairs, strict=True))


def _tensor_error(half: Tensor, exact: Tensor) -> float:
    if half.shape != exact.shape:
        return math.inf
    if exact.numel() == 0:
        return 0.0
    if not exact.is_floating_point():
        return (half != exact).double().mean().item()
    half, exact = half.float(), exact.float()
    difference = _norm(torch.where(half == exact, 0.0, half - exact))
    if difference == 0.0:
        return 0.0
    size = _norm(torch.where(exact.isfinite(), exact, 0.0))
    error = difference / size if size > 0 else math.inf
    return error if math.isfinite(error) else math.inf


def _norm(tensor: Tensor) -> float:
    # squares of float32 numbers below 1e-23 or above 1e19 do not fit into float32
    return torch.linalg.vector_norm(tensor, dtype=torch.float64).item()


def _compare(forward: Forward, taps: Sequence[Tap], dtype: torch.dtype, device: torch.device) -> dict[str, float]:
    """Run in both precisions, half precision last; return each tap's error, 0 for one that fired in neither."""
    # of their own, so that the taps themselves are left as after one pass
    witnesses = [copy.copy(tap) for tap in taps]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # both passes see the same random numbers
        forward(witnesses, torch.float32)
    exact = [tap.read() if tap.fired else None for tap in witnesses]
    forward([*taps, *witnesses], dtype)
    errors: dict[str, float] = {}
    for tap, value in zip(witnesses, exact, strict=True):
        half = tap.read() if tap.fired else None
        error = 0.0 if half is None and value is None else relative_error(half, value)
        errors[str(tap)] = max(error, errors.get(str(tap), 0.0))
    return errors


def _worst_of_all_processes(errors: dict[str, float]) -> dict[str, float]:
    """Take each tap's largest error over the processes of a run, which would otherwise decide differently."""
    values = torch.tensor(list(errors.values()), dtype=torch.float64)
    all_reduce(values, "max")
    return dict(zip(errors, values.tolist(), strict=True))


def _cpu_has_bfloat16() -> bool:
    # what torch itself asks before it takes oneDNN's bfloat16 kernels; it has no public name for it
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _name(dtype: torch.dtype | None) -> str:
    return str(dtype).removeprefix("torch.")
