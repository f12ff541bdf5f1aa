"""Whether a run can go on from a checkpoint, and what of it would begin anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.optim import OptimWrapper, OptimWrapperDict

from kdhub.errors import UsageError

_NEEDED = ("epoch", "iter")


def require_resumable(
    optim_wrapper: Any, checkpoint: Mapping[str, Any], where: str, optimizers: Mapping[str, str]
) -> None:
    """Refuse a checkpoint that a run cannot go on from.

    Args:
        optim_wrapper: What holds the optimizers of the run.
        checkpoint: What the file holds.
        where: The file, for the errors.
        optimizers: Class of each optimizer that the checkpoint is of, as `optimizer_types` gave it; empty if it does not say.

    Raises:
        UsageError: If the file holds weights alone, or the state of optimizers that the run does not have.
    """
    meta = checkpoint.get("meta") or {}
    if "message_hub" not in checkpoint or not all(key in meta for key in _NEEDED):
        raise UsageError(
            "the file holds weights, and not where a run stood",
            where=where,
            expected="a checkpoint that a training saved",
            fix=f"begin a new run with these weights: --cfg-options load_from={where}",
        )
    saved = checkpoint.get("optimizer")
    if saved is None:
        return
    states = {"": saved} if "param_groups" in saved else dict(saved)
    present = dict(named_wrappers(optim_wrapper))
    for name in present.keys() | states.keys():
        before, now = states.get(name), present.get(name)
        if before is None or now is None or _differs(before, now.optimizer, optimizers.get(name)):
            raise UsageError(
                "the checkpoint holds the state of another optimizer",
                where=f"optim_wrapper{f'.{name}' if name else ''}.optimizer",
                expected=_described(before and before["param_groups"], optimizers.get(name)),
                got=_described(now and now.optimizer.param_groups, now and type(now.optimizer).__name__),
                fix=f"give the former one back, or begin a new run with these weights: --cfg-options load_from={where}",
            )


def left_out(runner: Any, checkpoint: Mapping[str, Any]) -> Iterator[str]:
    """Say what a run has, a checkpoint lacks, and so begins anew."""
    if "optimizer" not in checkpoint:
        yield "the checkpoint holds no optimizer, so momentum and other averages of gradients begin anew"
    if runner.param_schedulers and "param_schedulers" not in checkpoint:
        yield "the checkpoint holds no parameter schedulers, so learning rates begin anew as at iteration 0"


def optimizer_types(optim_wrapper: Any) -> dict[str, str]:
    """Name the class of each optimizer; one that is alone has the name ``""``."""
    return {name: type(wrapper.optimizer).__name__ for name, wrapper in named_wrappers(optim_wrapper)}


def named_wrappers(optim_wrapper: Any) -> Iterator[tuple[str, OptimWrapper]]:
    """Yield each optimizer's wrapper; one that is alone has the name ``""``."""
    if isinstance(optim_wrapper, OptimWrapperDict):
        yield from optim_wrapper.items()
    elif isinstance(optim_wrapper, OptimWrapper):
        yield "", optim_wrapper


def _differs(state: Mapping[str, Any], optimizer: Any, kind: str | None) -> bool:
    """Whether a state is of another optimizer, or of other groups of parameters."""
    before, now = state["param_groups"], optimizer.param_groups
    if [len(group["params"]) for group in before] != [len(group["params"]) for group in now]:
        return True
    if kind == type(optimizer).__name__:
        return False  # what another version of torch adds or leaves out it fills in itself
    gone, new = (
        any(one.keys() - other.keys() for one, other in pairs)
        for pairs in (zip(before, now, strict=True), zip(now, before, strict=True))
    )
    return gone or new if kind is not None else gone and new


def _described(groups: Any, kind: str | None) -> str:
    if groups is None:
        return "none of this name"
    sizes = ", ".join(str(len(group["params"])) for group in groups)
    settings = f"one with {', '.join(sorted(groups[0].keys() - {'params'}))}"
    return f"{kind or settings} over {sizes} parameters"
