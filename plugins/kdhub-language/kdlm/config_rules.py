"""Rules between the fields of a config: a model must read the tokens of the tokenizer that it was trained with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdhub.api import Report

_LOADER = "train_dataloader"
_MODEL = "pretrained_model_name_or_path"


def check(cfg: Mapping[str, Any], report: Report) -> None:
    """Compare the vocabulary of the training texts with those that lie beside the models of the config.

    Vocabularies of one size give a plausible loss, whatever their tokens mean. Only folders that are there are compared: names on a hub, and
    what a predecessor has still to make, are not.

    Args:
        cfg: The config.
        report: Takes the findings.
    """
    dataset = _at(cfg, _LOADER, "dataset")
    tokenizer = dataset.get("tokenizer") if isinstance(dataset, Mapping) else None
    ours = vocabulary(tokenizer)
    if ours is None:
        return
    for path, folder in _models(cfg.get("model"), "model"):
        theirs = vocabulary(folder)
        if theirs is not None and theirs != ours:
            report.error(
                path,
                "the model was saved with another tokenizer than the texts are read with",
                expected=f"the vocabulary of {tokenizer}, {len(ours)} tokens",
                got=f"{folder}, {len(theirs)} tokens, {len(theirs.keys() ^ ours.keys())} of them on one side only",
                fix=f"set {_LOADER}.dataset.tokenizer={folder!r}, for validation and test too",
            )


def vocabulary(folder: Any) -> dict[str, int] | None:
    """Read the tokens of a tokenizer out of its folder; ``None`` if there is none that can be read."""
    if not isinstance(folder, str) or not (file := Path(folder, "tokenizer.json")).is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        tokens = content["model"]["vocab"]
        known = dict(tokens) if isinstance(tokens, Mapping) else {one[0]: place for place, one in enumerate(tokens)}
        return known | {one["content"]: one["id"] for one in content.get("added_tokens", ())}
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None  # of a kind that this rule does not know


def _models(part: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(part, Mapping):
        for key, value in part.items():
            if key == _MODEL and isinstance(value, str):
                yield f"{path}.{key}", value
            else:
                yield from _models(value, f"{path}.{key}")


def _at(cfg: Mapping[str, Any], *keys: str) -> Any:
    value: Any = cfg
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
