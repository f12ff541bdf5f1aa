"""What a config must be like to be tuned: it names a measure of validation data, and keeps its test data out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import CheckpointHook

from kdhub.engine.workdir.identity import config_fingerprint
from kdhub.errors import UsageError

DIRECTIONS = ("maximize", "minimize")
_TEST = ("test_dataloader", "test_cfg", "test_evaluator", "test_pipeline")
_ON_THE_WAY = frozenset(
    {"pipeline", "transform", "transforms", "test_mode", "metainfo", "filter_cfg", "backend_args", "indices"}
    | {"serialize_data", "lazy_init", "max_refetch"}
)
"""What a data set does to its samples, and which of them it takes; two that differ in it only are of the same files."""
_WRAPPERS = ("ConcatDataset", "RepeatDataset", "ClassBalancedDataset", "MultiImageMixDataset")
"""Data sets of mmengine and mmdet that have the samples of those inside; of any other wrapper the settings may choose among them."""


def objective(cfg: Mapping[str, Any], metric: str | None, direction: str | None) -> tuple[str, str]:
    """Return the metric and whether more of it is better: as typed, else as ``default_hooks.checkpoint`` says.

    Args:
        cfg: The config.
        metric: As typed, or ``None``.
        direction: As typed, or ``None``.

    Raises:
        UsageError: If the config evaluates nothing, or one of the two is not known.
    """
    missing = [key for key in ("val_dataloader", "val_evaluator") if not cfg.get(key)]
    if missing:
        raise UsageError(
            f"the config has no {' and no '.join(missing)}, and trials are judged on validation data",
            where=str(getattr(cfg, "filename", None) or "config"),
            fix="set val_dataloader, val_cfg and val_evaluator, on data that neither trains nor tests",
        )
    saver = (cfg.get("default_hooks") or {}).get("checkpoint")
    saver = saver if isinstance(saver, Mapping) else {}
    best = saver.get("save_best")
    if metric is None:
        if not isinstance(best, str) or best == "auto":
            raise UsageError(
                "nobody says which metric to tune for",
                where="--metric",
                expected="its name as in run.json, or default_hooks.checkpoint.save_best in the config",
            )
        metric = best
    if direction is None:
        direction = _direction(metric, saver.get("rule") if best == metric else None)
    return metric, direction


def _direction(metric: str, rule: Any) -> str:
    try:
        (found,) = CheckpointHook(save_best=metric, rule=rule).rules
    except KeyError as error:
        raise UsageError(
            f"no such rule: {rule!r}", where="default_hooks.checkpoint.rule", expected="greater or less"
        ) from error
    except ValueError as error:  # mmengine knows words such as "acc" and "loss" only
        raise UsageError(
            f"nobody says whether more or less of {metric!r} is better",
            where="--direction",
            expected=" or ".join(DIRECTIONS),
        ) from error
    return DIRECTIONS[0] if found == "greater" else DIRECTIONS[1]


def require_own_validation(cfg: Mapping[str, Any]) -> None:
    """Refuse a config that validates on its test data: the best of many trials would be the best on the test.

    Raises:
        UsageError: If a data set of ``val_dataloader`` has samples of one of ``test_dataloader``, whatever is done to them.
    """
    tested = [(config_fingerprint(_samples(one)), one.get("indices")) for one in _data_sets(cfg.get("test_dataloader"))]
    for own in _data_sets(cfg.get("val_dataloader")):
        files = config_fingerprint(_samples(own))
        if any(files == those and _meet(own.get("indices"), indices) for those, indices in tested):
            raise UsageError(
                "the config validates on its test data, so tuning would choose what is best on the test",
                where="val_dataloader.dataset",
                expected="data that test_dataloader does not have, such as a part of the training data",
                fix="give it a data set of its own; --validate-on-test tunes nevertheless, and the test data then proves nothing",
            )


def without_test(cfg: Any) -> None:
    """Take out of a config what a test would need, in place, so that no trial can run one."""
    for key in _TEST:
        cfg.pop(key, None)


def _data_sets(loaders: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the data sets of loaders, those inside of wrappers."""
    for loader in loaders if isinstance(loaders, list | tuple) else [loaders]:
        if isinstance(loader, Mapping):
            kind = str(loader.get("type", "")).rpartition(".")[2]
            if "type" in loader and kind not in _WRAPPERS:
                yield loader
            else:
                yield from _data_sets(loader.get("dataset"))
                yield from _data_sets(loader.get("datasets"))


def _samples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _samples(child) for key, child in value.items() if key not in _ON_THE_WAY}
    return [_samples(child) for child in value] if isinstance(value, list | tuple) else value


def _meet(one: Any, other: Any) -> bool:
    """Whether two ``indices`` of mmengine's data sets may have samples in common: the first or last n, a list, or all."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return bool(set(one) & set(other))
    if isinstance(one, int) and isinstance(other, int):
        return one * other > 0  # the first n and the last n are meant to be two parts
    listed, count = (one, other) if isinstance(one, list | tuple) else (other, one)
    if isinstance(listed, list | tuple) and isinstance(count, int) and count > 0:
        return min(listed, default=count) < count
    return True
