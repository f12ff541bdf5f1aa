"""Low-rank additions to a network, by peft."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from kdhub.api import UsageError, integer, number, require


def add_lora(net: nn.Module, target_modules: Sequence[str] | str, rank: int = 64, alpha: float = 108.0) -> None:
    """Add LoRA to a network in place; only the additions train afterwards, and they begin at zero.

    Args:
        net: The network; its calls and paths stay its own.
        target_modules: Names of the linear or convolutional modules to add to, such as ``['to_q', 'to_v']``.
        rank: Rank of the additions; 64 in SwiftBrush.
        alpha: They are scaled by ``alpha / rank``; 108 in SwiftBrush.

    Raises:
        UsageError: Without peft, or for modules that do not exist.
    """
    require("lora", integer(1), rank=rank)
    require("lora", number(above=0), alpha=alpha)
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UsageError("LoRA needs peft", fix='pip install "./plugins/kdhub-generation[lora]"') from error
    names = target_modules if isinstance(target_modules, str) else list(target_modules)
    try:
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=names), net)
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError("LoRA cannot be added", where="model.lora.target_modules", got=reason) from error
