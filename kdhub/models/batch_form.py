"""`BatchForm`: batches of any kind in one form, ``dict(inputs=..., labels=...)``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn
from torch.utils.data import default_collate

from kdhub.distill.fields import batch_field
from kdhub.errors import UsageError
from kdhub.values import describe, item

LABELS = ("labels", "label", "targets", "target")
"""Names under which the labels are looked for in a batch that is a dict."""
SAMPLES = "data_samples"
"""Where mmengine's own data sets and preprocessors keep labels."""

Entry = int | str
"""Position in a batch that is a tuple, or dotted path into one that is a dict."""


class BatchForm(BaseDataPreprocessor):
    """Finds inputs and labels, lets the model's own preprocessing work on them, and moves both to the device.

    Args:
        preprocessor: The model's own preprocessing, which gets ``dict(inputs=..., labels=...)``, or
            ``dict(inputs=..., data_samples=...)`` if the batch has those.
        forward: The net's ``forward``, whose parameters name the inputs in a batch that is a dict.
        inputs: Where the inputs are; a mapping of the net's keywords to places; ``None`` to find them.
        labels: Where the labels are; ``None`` to find them.
        fields: What else of the batch objectives read, by name; a batch without one, as in validation, has it not.
    """

    def __init__(
        self,
        preprocessor: nn.Module,
        forward: Callable[..., Any],
        inputs: Entry | Mapping[str, Entry] | None,
        labels: Entry | None,
        fields: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.preprocessor = preprocessor
        self.inputs = inputs
        self.labels = labels
        self.fields = tuple(fields)
        self.keywords, self.takes_any = keywords_of(forward)
        self._said_left_out = False

    @property
    def batch_augments(self) -> Any:
        """What the model's own preprocessing does to a batch as a whole."""
        return getattr(self.preprocessor, "batch_augments", None)

    @batch_augments.setter
    def batch_augments(self, value: Any) -> None:
        self.preprocessor.batch_augments = value

    def forward(self, data: Any, training: bool = False) -> dict[str, Any]:
        """Bring a collated batch into the one form.

        Args:
            data: A tuple or list of inputs and labels, a mapping (``BatchEncoding`` is one), or the inputs alone.
            training: Whether the model's own preprocessing pads and augments as in training.

        Returns:
            ``inputs``, a tensor or a dict of the net's keywords, ``labels``, if the batch has any, and ``fields``.

        Raises:
            UsageError: If they cannot be found; names what the batch holds.
        """
        form: dict[str, Any] = {"inputs": self._find_inputs(data)}
        if isinstance(data, Mapping) and data.get(SAMPLES) is not None:
            form[SAMPLES] = data[SAMPLES]
        elif (labels := self._find_labels(data)) is not None:
            form["labels"] = labels
        form = self.preprocessor(form, training)
        if form.get(SAMPLES) is not None and "labels" not in form:
            form["labels"] = self._find_labels(form)
        found = {"inputs": as_batch(form["inputs"]), "labels": as_batch(form.get("labels"))}
        if isinstance(data, Mapping):
            found |= {name: as_batch(data.get(name)) for name in self.fields}
        return {name: self.cast_data(value) for name, value in found.items() if value is not None}

    def _find_inputs(self, data: Any) -> Any:
        where = "TorchModel.inputs"
        if isinstance(self.inputs, Mapping):
            return {name: as_batch(_entry(data, place, f"{where}.{name}")) for name, place in self.inputs.items()}
        if self.inputs is not None:
            return as_batch(_entry(data, self.inputs, where))
        if isinstance(data, Mapping):
            return as_batch(data["inputs"]) if "inputs" in data else self._by_name(data, where)
        if isinstance(data, list | tuple):
            if len(data) > 2:
                raise UsageError(
                    f"the batch has {len(data)} parts",
                    where=where,
                    got=describe(data),
                    fix="say which are which: inputs=0, labels=2, or inputs=dict(KEYWORD=0, ...)",
                )
            return as_batch(item(data, 0, "the data loader"))
        return as_batch(data)

    def _by_name(self, data: Mapping[str, Any], where: str) -> Any:
        """Take from a dict what the net's ``forward`` names; an only entry of another name is its first argument."""
        rest = {
            str(key): value for key, value in data.items() if key not in (*LABELS, self.labels, SAMPLES, *self.fields)
        }
        named = {key: as_batch(value) for key, value in rest.items() if key in self.keywords}
        if not named and self.takes_any:
            named = {key: as_batch(value) for key, value in rest.items()}
        if not named and len(rest) == 1:
            return as_batch(next(iter(rest.values())))
        if not named:
            raise UsageError(
                "the batch does not say what the net is given",
                where=where,
                expected=f"one of {', '.join(self.keywords)}" if self.keywords else None,
                got=", ".join(map(str, data)) or "an empty batch",
                fix="name it: inputs='...', or inputs=dict(KEYWORD='...')",
            )
        left_out = [key for key in rest if key not in named]
        if left_out and not self._said_left_out:
            print_log(f"the net takes no {', '.join(left_out)} from the batch", "current")
        self._said_left_out = True
        return named

    def _find_labels(self, data: Any) -> Any:
        if self.labels is not None:
            return as_batch(_entry(data, self.labels, "TorchModel.labels"))
        if isinstance(data, Mapping):
            found = next((data[name] for name in LABELS if name in data), None)
            return as_batch(_labels_in(data[SAMPLES]) if found is None and data.get(SAMPLES) is not None else found)
        return as_batch(data[1]) if isinstance(data, list | tuple) and len(data) == 2 else None


def keywords_of(forward: Callable[..., Any]) -> tuple[tuple[str, ...], bool]:
    """Return what a function can be given by keyword, and whether it takes any keyword."""
    parameters = inspect.signature(forward).parameters.values()
    names = tuple(one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY))
    return names, any(one.kind is one.VAR_KEYWORD for one in parameters)


def as_batch(value: Any) -> Any:
    """Stack the samples that a collate function left as a list, also inside a dict; what cannot be stacked stays one.

    Raises:
        UsageError: If the samples are no tensors, such as images of PIL.
    """
    if isinstance(value, Mapping):
        return {key: as_batch(entry) for key, entry in value.items()}
    if not isinstance(value, list | tuple) or not value:
        return value
    if all(isinstance(entry, Tensor | np.ndarray) for entry in value):
        return default_collate(list(value)) if len({entry.shape for entry in value}) == 1 else value
    if all(isinstance(entry, int | float | np.number) for entry in value):
        return default_collate(list(value))
    if not isinstance(value[0], str | Mapping | list | tuple) and type(value[0]).__module__.startswith("PIL."):
        raise UsageError(
            "the batch holds images that are no tensors",
            where="the data set",
            got=type(value[0]).__name__,
            fix="give it transform=dict(type='torchvision.transforms.ToTensor')",
        )
    return value


def _entry(data: Any, place: Entry, where: str) -> Any:
    if isinstance(place, int):
        return item(data, place, "the data loader")
    return batch_field(data, place, where)


def _labels_in(samples: Iterable[Any]) -> Any:
    """Take the classes out of mmengine's data samples, which may be the labels themselves."""
    listed = list(samples)
    if not all(hasattr(sample, "gt_label") for sample in listed):
        return listed if all(isinstance(sample, int | Tensor) for sample in listed) else None
    labels = batch_field({SAMPLES: listed}, f"{SAMPLES}.gt_label", "TorchModel.labels")
    # mmpretrain keeps the class of a sample as a tensor of one entry
    return labels.squeeze(1) if isinstance(labels, Tensor) and labels.ndim == 2 and labels.shape[1] == 1 else labels
