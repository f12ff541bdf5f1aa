"""`HiddenStates`: a tap on what every layer of a transformers model gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from kdhub.api import ModuleOutput, unwrapped


class HiddenStates(ModuleOutput):
    """All hidden states of a transformers model: a tuple of N + 1 tensors (B, L, H), index 0 the output of the embeddings.

    In most decoders the last one is after the final normalisation. The model is asked for them in this forward pass alone, so
    its config stays as it is, and models with LoRA give them too.

    Args:
        path: Stays empty: the model itself.
        key: Index of one state, such as -1; ``None`` for all.
        call: As for every tap.
    """

    def __init__(self, path: str = "", key: int | None = None, call: int | str | None = None) -> None:
        super().__init__(path, None, call)
        self.index = key

    def attach(self, model: nn.Module) -> Callable[[], None]:
        """Ask for the states, and record them, until the returned function is called."""

        def ask(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            return args, {**kwargs, "output_hidden_states": True}

        meant = unwrapped(model)
        meant = getattr(meant, "kdhub_inner", meant)
        asking = meant.register_forward_pre_hook(ask, with_kwargs=True)
        stop = super().attach(model)

        def detach() -> None:
            stop()
            asking.remove()

        return detach

    def record(self, value: Any) -> None:
        """Keep the states of one call."""
        states = tuple(value.hidden_states)
        super().record(states if self.index is None else states[self.index])
