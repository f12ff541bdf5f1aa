"""`load_weights`: weights from a file into a model, with the differences named when they do not fit."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from torch import Tensor, nn

from kdhub.checkpoint.download import local_file
from kdhub.checkpoint.reading import read_checkpoint
from kdhub.errors import UsageError
from kdhub.inner import inner_of

_WRAPPERS = ("", "module.", "model.", "student.", "teacher.")
"""Prefixes that training tools put before a model's own names; ``student.`` is the `Distiller`'s."""


def load_weights(model: nn.Module, path: str | Path, strict: bool = True, trust: bool = False) -> dict[str, Any]:
    """Load a model's weights from a file.

    The weights may be the whole file or stand under ``state_dict`` or ``model``, and their names may carry the prefix of
    a wrapper: the one under which most names match is taken off.

    Args:
        model: Receives the weights.
        path: File that `read_checkpoint` reads, or the URL of one, which is downloaded into torch's cache.
        strict: Whether every weight of the model must be in the file, and the reverse. If not, what fits is loaded and
            the rest is logged.
        trust: See `read_checkpoint`.

    Returns:
        The file's ``meta``, where ``dataset_meta["classes"]`` holds the class names if the file records any.

    Raises:
        UsageError: If the file cannot be read, or its weights do not fit: how many, which, and their shapes.
    """
    content = read_checkpoint(local_file(path), trust=trust)
    fit_weights(model, weights_of(content, path), where=str(path), strict=strict)
    return _meta_of(content)


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor], where: str, strict: bool = True) -> None:
    """Put named weights into a model; see `load_weights`.

    Args:
        model: Receives the weights.
        weights: Name to tensor.
        where: What to call the source in errors.
        strict: Whether every weight must find its place.

    Raises:
        UsageError: If the weights do not fit.
    """
    model = best_fit((model,), weights)
    own = model.state_dict()
    prefix, found = _prefix_of(model, weights)
    if own and not found:
        raise UsageError(
            "no weight of the file belongs to the model",
            where=where,
            expected=_examples("like", own),
            got=_examples("like", weights),
            fix="check that file and model belong together",
        )
    if prefix:
        print_log(f"{where}: took the weights under {prefix!r}", logger="current")
        weights = _without_prefix(weights, prefix)
    shapes = [
        f"{name}: {tuple(weights[name].shape)} in the file, {tuple(tensor.shape)} in the model"
        for name, tensor in own.items()
        if name in weights and isinstance(tensor, Tensor) and weights[name].shape != tensor.shape
    ]
    try:
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        if strict or not shapes:
            raise UsageError(
                "weights do not fit the model",
                where=where,
                got=_examples("of another shape", shapes) or str(error),
                fix="use the configuration the file was trained with (a head's size is its number of classes)",
            ) from error
        fitting = {name: tensor for name, tensor in weights.items() if not _differs(own.get(name), tensor)}
        missing, unexpected = model.load_state_dict(fitting, strict=False)
    # counted by batch normalisation and absent from older files; no prediction depends on it
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    differences = "; ".join(
        filter(
            None,
            (_examples("missing", missing), _examples("unexpected", unexpected), _examples("of another shape", shapes)),
        )
    )
    if differences and strict:
        raise UsageError(
            "weights do not fit the model",
            where=where,
            got=differences,
            fix="check that file and model belong together",
        )
    if differences:
        print_log(f"{where}: loaded what fits; {differences}", logger="current")


def weights_of(content: Mapping[str, Any], path: str | Path) -> Mapping[str, Tensor]:
    """Find the named weights in what a file holds.

    Raises:
        UsageError: If there are none.
    """
    for key in ("state_dict", "model"):
        if isinstance(content.get(key), Mapping):
            return content[key]
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return content
    raise UsageError(
        "the file holds no named weights",
        where=str(path),
        expected="tensors by name, at the top or under 'state_dict' or 'model'",
        got=f"keys {', '.join(map(str, list(content)[:5])) or 'none'}",
    )


def best_fit(models: Iterable[nn.Module], weights: Mapping[str, Tensor]) -> nn.Module:
    """Return the model in which most of the names occur, the first of several; each also as what it stands for."""
    candidates = [one for model in models for one in (model, inner_of(model))]
    return max(candidates, key=lambda model: _prefix_of(model, weights)[1])


def _prefix_of(model: nn.Module, weights: Mapping[str, Tensor]) -> tuple[str, int]:
    """Return the wrapper's prefix under which most of a model's names occur, and how many do."""
    names = list(model.state_dict())
    found = {prefix: sum(prefix + name in weights for name in names) for prefix in _WRAPPERS}
    best = max(_WRAPPERS, key=found.__getitem__)
    return best, found[best]


def _meta_of(content: Mapping[str, Any]) -> dict[str, Any]:
    meta = dict(content.get("meta") or {})
    recorded = meta.get("dataset_meta") or {}
    # mmseg 0.x and mmdet 2.x wrote meta["CLASSES"], early 1.x and 3.x dataset_meta["CLASSES"]
    classes = recorded.get("classes") or recorded.get("CLASSES") or meta.get("CLASSES")
    if classes:
        meta["dataset_meta"] = {**recorded, "classes": tuple(classes)}
    return meta


def _without_prefix(weights: Mapping[str, Tensor], prefix: str) -> Mapping[str, Tensor]:
    bare = OrderedDict((name[len(prefix) :], value) for name, value in weights.items() if name.startswith(prefix))
    versions = getattr(weights, "_metadata", None)
    if versions is not None:
        # module versions, by which batch normalisation and others read their older formats
        bare._metadata = {name[len(prefix) :]: value for name, value in versions.items()}  # type: ignore[attr-defined]
    return bare


def _differs(own: Any, tensor: Tensor) -> bool:
    return isinstance(own, Tensor) and own.shape != tensor.shape


def _examples(what: str, names: Iterable[str], limit: int = 3) -> str:
    listed = list(names)
    if not listed:
        return ""
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return f"{len(listed)} {what}: {', '.join(listed[:limit])}{more}"
