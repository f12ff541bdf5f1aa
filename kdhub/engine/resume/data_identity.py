"""What identifies a data set: its own word for it, or what it tells of its samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdhub.engine.resume.sampling import KeyedDataset
from kdhub.fingerprints import json_fallback

_LOCATIONS = frozenset({"root", "data_root"})
"""Where a data set lies is no part of what its samples are, if these can be told apart otherwise."""

_WRAPPED = ("dataset", "datasets")
"""Where mmengine's and torch's wrappers keep the data sets that they wrap, in their configs and as attributes."""

_SIZES = 4096
"""Of how many samples, spread over a data set, the sizes of files are looked up, as a folder on a network takes its time."""


def data_fingerprint(dataset: Any) -> str:
    """Identify a data set by class, length, and its own ``fingerprint()``; without one, by what it tells of its samples.

    mmengine's data sets tell the paths, labels and other facts of each sample (``get_data_info``). All of that counts, with
    the sizes of the files that are named so, but not the folder that they lie in (``data_root``). Other data sets that have no
    ``fingerprint()`` are identified by class and length alone. Of a wrapper the data sets within it count as well.
    """
    named = f"{type(dataset).__qualname__} of {len(dataset)}"
    own = getattr(dataset, "fingerprint", None)
    if callable(own):
        return f"{named}, {own()}"
    inner = [data_fingerprint(one) for one in _within(dataset) if callable(getattr(one, "fingerprint", None))]
    told = [_told(dataset)] if _tells(dataset) else []
    return ", ".join([named, *told, *inner])


def dataset_facts(dataset: Any) -> dict[str, Any]:
    """Return type, size and own ``fingerprint()`` of a data set for the run card, which is quick, unlike `data_fingerprint`."""
    if isinstance(dataset, KeyedDataset):
        dataset = dataset.dataset
    facts: dict[str, Any] = {"type": type(dataset).__name__}
    if hasattr(dataset, "__len__"):
        facts["size"] = len(dataset)
    if callable(getattr(dataset, "fingerprint", None)):
        facts["fingerprint"] = dataset.fingerprint()
    return facts


def described_dataset(config: Any, dataset: Any) -> Any:
    """Return what a config says about its data set; where this lies is left out if its samples are told apart otherwise."""
    return _without_places(config) if callable(getattr(dataset, "fingerprint", None)) or _tells(dataset) else config


def _tells(dataset: Any) -> bool:
    return callable(getattr(dataset, "get_data_info", None))


def _told(dataset: Any) -> str:
    digest = hashlib.sha256()
    roots = sorted({_in_json(root) for root in data_roots(dataset)}, key=len, reverse=True)
    step = max(1, -(-len(dataset) // _SIZES))
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        text = _text(info)
        for root in roots:
            text = text.replace(root, '"')
        digest.update(text.encode())
        if index % step == 0:
            digest.update(json.dumps(list(_sizes(info))).encode())
    return digest.hexdigest()[:16]


def _within(dataset: Any) -> Iterator[Any]:
    for name in _WRAPPED:
        inner = getattr(dataset, name, ())
        yield from inner if isinstance(inner, list | tuple) else (inner,)


def data_roots(dataset: Any) -> Iterator[str]:
    """Find the folders that a data set and those within it lie in."""
    root = getattr(dataset, "data_root", None)
    if isinstance(root, str | Path) and str(root):
        yield str(root)
    for one in _within(dataset):
        yield from data_roots(one)


def _in_json(root: str) -> str:
    """Return how JSON writes the begin of the path of a file in a folder."""
    return json.dumps(root.rstrip("/") + "/")[:-1]


def _sizes(info: Any) -> Iterator[int | None]:
    """Return the size of each file whose path stands under a key as mmengine's ``img_path``; ``None`` where none is there."""
    for key, value in info.items() if isinstance(info, Mapping) else ():
        if str(key).endswith("path") and isinstance(value, str):
            try:
                yield Path(value).stat().st_size
            except OSError:  # as with another storage back end
                yield None


def _text(info: Any) -> str:
    try:
        return json.dumps(info, default=json_fallback)
    except TypeError:  # keys that are no text
        return json.dumps(_with_text_keys(info), default=json_fallback)


def _with_text_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _with_text_keys(entry) for key, entry in value.items()}
    return [_with_text_keys(entry) for entry in value] if isinstance(value, list | tuple) else value


def _without_places(config: Any) -> Any:
    if isinstance(config, list | tuple):
        return [_without_places(one) for one in config]
    if not isinstance(config, Mapping):
        return config
    return {
        key: _without_places(value) if key in _WRAPPED else value
        for key, value in config.items()
        if key not in _LOCATIONS
    }
