"""Faults of the data, told in one line: a sample that cannot be loaded, a batch that cannot be made or trained on."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from mmengine.structures import BaseDataElement

from kdhub.engine.faults.processes import FROM_WORKER, is_no_memory
from kdhub.errors import KdhubError, UsageError, in_short

_NO_CLASS = re.compile(
    r"Target (?P<label>-?\d+) is out of bounds|Class values must be|index out of range in self|device-side assert"
)
"""How torch complains of a number that is no class, or no token: in a cross entropy, `one_hot`, an embedding, on a GPU."""
_LONE = "Expected more than 1 value per channel"
_FETCH = ("_utils", "fetch.py")
"""Where torch asks a data set for samples."""
_NAMED = 8
"""How many samples of a batch are named."""


def load_sample(dataset: Any, index: int) -> Any:
    """Load a sample.

    Raises:
        UsageError: If the data set or its pipeline raises anything; names the sample, its files and the transform.
    """
    try:
        return dataset[index]
    except Exception as error:
        if _is_explained(error):
            raise
        raise _unloadable(f"sample {index} of {type(dataset).__name__}", error, type(dataset).__name__) from error


def loading_fault(error: Exception) -> UsageError | None:
    """Name the sample that loaders of torch's own, those of evaluations and of streams, could not load; ``None`` if it was none.

    Its files and the transform are named as far as the traceback tells them: a data worker's does not.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    fetching = [frame.f_locals for frame in frames if Path(frame.f_code.co_filename).parts[-2:] == _FETCH]
    if fetching:
        name = type(fetching[0]["self"].dataset).__name__
        batch = [index for index in fetching[0]["possibly_batched_index"] if index is not None]
        samples = [fetching[-1]["idx"]] if "idx" in fetching[-1] else batch
        text = f"sample{'s' * (len(samples) > 1)} {_numbers(samples)} of {name}" if samples else name
        return _unloadable(text, error, name)
    if worker := FROM_WORKER.match(str(error)):
        told = re.findall(r"^[\w.]+(?:Error|Exception)\b.*", str(error), re.MULTILINE)
        return UsageError(
            "a sample cannot be loaded",
            where=worker[1],
            got=told[-1][:300] if told else type(error).__name__,
            fix="num_workers=0 in its loader names it",
        )
    return None


def _is_explained(error: Exception) -> bool:
    """Whether somebody else says in one line what an error is about."""
    return isinstance(error, KdhubError) or is_no_memory(error)


def _unloadable(where: str, error: Exception, dataset: str) -> UsageError:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    files = next(filter(None, (_files(*frame.f_locals.values()) for frame in reversed(frames))), "")
    step = next(filter(None, map(_transform, reversed(frames))), dataset)
    return UsageError(
        "a sample cannot be loaded",
        where=", ".join(filter(None, (where, files))),
        got=f"{in_short(error)}, in {step}",
        fix="repair its files or leave them out of the data; if they are sound, see to this step of the data set",
    )


def collate_samples(collate: Callable[[list[Any]], Any], samples: list[Any], indices: Sequence[int]) -> Any:
    """Make a batch of samples.

    Raises:
        UsageError: If that raises anything; names the samples.
    """
    try:
        return collate(samples)
    except Exception as error:
        if _is_explained(error):
            raise
        raise UsageError(
            f"samples {_numbers(indices)} cannot be put together into one batch",
            where="train_dataloader.collate_fn",
            got=in_short(error),
            fix="give all samples the same keys, shapes and types in the data set's pipeline, or name another collate_fn",
        ) from error


@contextmanager
def explained_batch(indices: Callable[[], Sequence[int]], dataset: Any) -> Iterator[None]:
    """Tell in one line what of a batch a model cannot be trained on: a label that is no class, or a lone sample.

    Args:
        indices: Gives the samples of the batch; none if they are not known.
        dataset: Where the samples come from.

    Raises:
        UsageError: Names the sample and its files as far as they are known.
    """
    try:
        yield
    # kdhub's own errors too: one that blames a loss or an adapter quotes torch
    except (IndexError, RuntimeError, ValueError, KdhubError) as error:
        if _LONE in str(error):
            raise UsageError(
                "batch normalisation cannot train on a batch of one sample",
                where="train_dataloader",
                got=in_short(error),
                fix="train_dataloader.drop_last=True, or a batch_size that leaves no single sample over",
            ) from error
        found = _NO_CLASS.search(str(error))
        if found is None:
            raise
        known = list(indices())
        samples = known
        if found["label"] is not None:
            with suppress(Exception):  # loading them once more may fail; then all of them are named
                samples = [index for index in known if _holds(dataset[index], int(found["label"]))] or known
        raise UsageError(
            "a label or token that the model does not know",
            where=_places(samples, dataset),
            got=in_short(error),
            fix="see the labels of these samples and the model's number of classes; what has no class needs the label that"
            " the loss ignores",
        ) from error


def _holds(value: Any, label: int) -> bool:
    """Whether there is such an integer anywhere in a value."""
    if isinstance(value, torch.Tensor):
        return not (value.is_floating_point() or value.is_complex()) and bool((value == label).any())
    if isinstance(value, BaseDataElement):
        value = dict(value.all_items())
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return any(_holds(entry, label) for entry in value)
    return type(value) is int and value == label


def _places(samples: Sequence[int], dataset: Any) -> str:
    if not samples:
        return "training data"
    text = f"sample{'s' * (len(samples) > 1)} {_numbers(samples)} of the training data"
    if len(samples) > 1 or not callable(getattr(dataset, "get_data_info", None)):
        return text
    files = _files(dataset.get_data_info(samples[0]))
    return f"{text}, {files}" if files else text


def _numbers(indices: Sequence[int]) -> str:
    text = ", ".join(str(int(index)) for index in indices[:_NAMED])
    return text if len(indices) <= _NAMED else f"{text} and {len(indices) - _NAMED} more"


def _files(*values: Any) -> str:
    """Return the files that a sample names under keys such as mmengine's ``img_path``."""
    for value in values:
        if isinstance(value, Mapping):
            paths = (
                entry for key, entry in value.items() if str(key).endswith("path") and isinstance(entry, str | Path)
            )
            if found := ", ".join(map(str, paths)):
                return found
    return ""


def _transform(frame: Any) -> str | None:
    """Return the name of the transform that a frame runs."""
    owner = frame.f_locals.get("self")
    is_step = frame.f_code.co_name in ("transform", "__call__", "forward") and owner is not None
    return type(owner).__name__ if is_step and type(owner).__name__ != "Compose" else None
