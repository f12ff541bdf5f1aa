"""Where a run stands: the step that schedules see, saved and restored with the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Position(nn.Module):
    """Counts training iterations, as mmengine's parameter schedulers do.

    The count lives in a buffer, so every checkpoint carries it, and is mirrored as an int, so that reading it never waits
    for a device.
    """

    _buffer: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("_buffer", torch.zeros((), dtype=torch.int64))
        self.step = 0

    def advance(self) -> None:
        """Go on by one training iteration."""
        self.move_to(self.step + 1)

    def move_to(self, step: int) -> None:
        """Stand at a step."""
        self.step = step
        self._buffer.fill_(step)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.step = int(self._buffer)
