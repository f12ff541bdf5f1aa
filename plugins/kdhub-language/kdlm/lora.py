"""`lora`: a net of which only low-rank additions train."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from torch import nn

from kdhub.api import UsageError, integer, number, require


def lora(
    net: nn.Module,
    target_modules: Sequence[str] | str,
    rank: int = 8,
    alpha: float = 16.0,
    dropout: float = 0.0,
    modules_to_save: Sequence[str] | None = None,
    task_type: str | None = None,
) -> Any:
    """Add LoRA to a net of transformers, by `peft`; stands as the ``net`` of a `kdhub.TorchModel`.

    Paths of taps stay the net's own, such as ``transformer.h.0.attn.c_attn``; below it are ``lora_A.default`` and ``lora_B.default``.
    The exported student has the additions merged in, so transformers loads it without peft.

    Args:
        net: The net, or a dict that builds it, as ``kdhub.TorchModel`` takes it.
        target_modules: Names of the linear modules to add to, such as ``['c_attn']``.
        rank: Rank of the additions; 8 is peft's default.
        alpha: The additions are scaled by ``alpha / rank``.
        dropout: Probability of dropping the additions' input while training.
        modules_to_save: Modules that train as a whole, such as a new head ``['score']``.
        task_type: peft's name of the task, such as ``CAUSAL_LM``; ``None`` for none.

    Returns:
        peft's model. Only the additions, and ``modules_to_save``, have gradients.

    Raises:
        UsageError: Without peft, for a net that is no transformers model, or modules that do not exist.
    """
    require("lora", integer(1), rank=rank)
    require("lora", number(above=0), alpha=alpha)
    require("lora", number(at_least=0), dropout=dropout)
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise UsageError("kdlm.lora needs peft", fix='pip install "./plugins/kdhub-language[lora]"') from error
    names = target_modules if isinstance(target_modules, str) else list(target_modules)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=names,
        modules_to_save=None if modules_to_save is None else list(modules_to_save),
        task_type=task_type,
        fan_in_fan_out=_has_conv1d(net, names),
    )
    try:
        with warnings.catch_warnings():
            # peft asks for a property that newer releases of transformers call otherwise; nobody here can act on it
            warnings.simplefilter("ignore", FutureWarning)
            return get_peft_model(net, config)
    except ValueError as error:
        raise UsageError(
            "LoRA cannot be added", where="lora.target_modules", got=" ".join(str(error).split())[:200]
        ) from error


def _has_conv1d(net: nn.Module, names: Sequence[str] | str) -> bool:
    """Whether the modules keep their weights transposed, as GPT-2's do; peft would find out with a warning."""
    wanted = (names,) if isinstance(names, str) else tuple(names)
    return any(type(module).__name__ == "Conv1D" for name, module in net.named_modules() if name.endswith(wanted))
