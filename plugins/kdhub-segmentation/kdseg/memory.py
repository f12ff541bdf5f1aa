"""What was derived from a tensor, kept for the other losses of the step that get the same one."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary


class TensorMemory:
    """Remembers things about tensors: by identity, while they live, and until they are changed in place."""

    def __init__(self) -> None:
        self._entries: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def __len__(self) -> int:
        return len(self._entries)

    def of(self, tensor: Tensor) -> dict[Any, Any]:
        """Return what is known of a tensor, to be read and added to."""
        if tensor.is_inference():
            # it has no version, so a change in place would go unseen: nothing is remembered
            return {}
        version, known = self._entries.get(tensor, (None, {}))
        if version != tensor._version:
            known = {}
            self._entries[tensor] = (tensor._version, known)
        return known
