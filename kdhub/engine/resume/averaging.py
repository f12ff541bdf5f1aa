"""Averaged weights: what a run with an `EMAHook` evaluates and saves is not what it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.hooks import EMAHook


@contextmanager
def as_evaluated(runner: Any) -> Iterator[None]:
    """Let the model hold the averaged weights within the block, if an `EMAHook` averages."""
    averaging = [hook for hook in runner.hooks if isinstance(hook, EMAHook) and hook._ema_started(runner)]
    for hook in averaging:
        hook._swap_ema_parameters()
    try:
        yield
    finally:
        for hook in averaging:
            hook._swap_ema_parameters()
