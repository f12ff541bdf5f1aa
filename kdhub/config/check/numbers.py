"""Numbers that make no sense where they stand, and that no other code refuses: training would go wrong, or do nothing.

A negative weight is refused as well: it would train the student away from its teacher. If you want that, write the sign into a
loss of your own, where a reader sees it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from kdhub.findings import Report


class Rule(NamedTuple):
    """Where numbers stand, and the least that may.

    The place is a key path, in which ``*`` is one key and ``**`` any number of them, or ``TYPE:argument``, wherever that is built.
    """

    path: str
    least: float
    why: str
    open: bool = False
    """Whether the least itself is refused too."""
    but: tuple[str, ...] = ()
    """Last keys that the rule leaves alone."""


_NOTHING = "nothing would be trained"
_UPHILL = "the optimizer would go uphill"
_RULES = (
    Rule("train_cfg.max_iters", 1, _NOTHING),
    Rule("train_cfg.max_epochs", 1, _NOTHING),
    Rule("train_cfg.val_interval", 1, "there is no such number of steps between two evaluations"),
    Rule("*_dataloader.batch_size", 1, "a batch needs a sample"),
    Rule("*_dataloader.num_workers", 0, "there is no such number of processes"),
    Rule("optim_wrapper.clip_grad.max_norm", 0, "every gradient would change its sign, or vanish", open=True),
    Rule("optim_wrapper.clip_grad.clip_value", 0, "every gradient would change its sign, or vanish", open=True),
    Rule("optim_wrapper.accumulative_counts", 1, "gradients are applied after a number of batches"),
    Rule("optim_wrapper.optimizer.lr", 0, _UPHILL),
    Rule("optim_wrapper.paramwise_cfg.**", 0, _UPHILL),
    Rule("param_scheduler.**", 0, _UPHILL, but=("last_step", "begin", "end", "T_max")),
    Rule("custom_hooks.*.patience", 0, "training would end at the first evaluation that is no better"),
    Rule("auto_scale_lr.base_batch_size", 1, _UPHILL),
    Rule("log_processor.window_size", 1, "nothing can be averaged over it"),
    Rule("model.task_weight.**", 0, "the student would unlearn its task", but=("begin", "steps")),
    Rule(
        "model.objectives.*.weight.**", 0, "the student would be trained away from its teacher", but=("begin", "steps")
    ),
    Rule("model.guards.zero_term", 0, "0 turns the guard off"),
)


def check_numbers(tree: Mapping[str, Any], report: Report, rules: Iterable[Rule] = _RULES) -> None:
    """Report the numbers that make no sense; ``nan`` and infinities never do.

    Args:
        tree: The config.
        report: Where findings go.
        rules: The first that fits a number counts.
    """
    for path, value, owner in _numbers(tree, ()):
        rule = next((one for one in rules if _applies(one, path, owner) and path[-1] not in one.but), None)
        if rule is None:
            continue
        if not math.isfinite(value) or value < rule.least or (rule.open and value == rule.least):
            expected = f"a number above {rule.least:g}" if rule.open else f"a number from {rule.least:g} on"
            report.error(".".join(path), f"the number makes no sense: {rule.why}", expected=expected, got=repr(value))


def _numbers(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float, Any]]:
    """Yield each number below a value with its key path and the ``type`` beside it."""
    owner = value.get("type") if isinstance(value, Mapping) else None
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, child in items:
        here = (*path, str(key))
        if isinstance(child, int | float) and not isinstance(child, bool):
            yield here, child, owner
        else:
            yield from _numbers(child, here)


def _applies(rule: Rule, path: tuple[str, ...], owner: Any) -> bool:
    type_, colon, argument = rule.path.rpartition(":")
    return _fits([argument], path[-1:]) and owner == type_ if colon else _fits(rule.path.split("."), path)


def _fits(pattern: list[str], path: tuple[str, ...]) -> bool:
    if pattern and pattern[-1] == "**":
        return len(path) >= len(pattern) - 1 and _fits(pattern[:-1], path[: len(pattern) - 1])
    return len(pattern) == len(path) and all(
        key.endswith(want.removeprefix("*")) if want.startswith("*") else key == want
        for want, key in zip(pattern, path, strict=True)
    )
