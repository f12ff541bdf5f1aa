"""The training data as a stored teacher sees them: as the student does, or without augmentation; and what identifies them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from kdhub.engine.resume.comparison import same
from kdhub.engine.resume.data_identity import data_fingerprint, described_dataset
from kdhub.engine.resume.replay import some_indices
from kdhub.engine.workdir.identity import config_fingerprint
from kdhub.errors import UsageError
from kdhub.rng import preserved_randomness

if TYPE_CHECKING:
    from kdhub.caching.stored import StoredTeacher

_WHERE = "StoredTeacher.unaugmented"


@dataclass(frozen=True)
class TeacherData:
    """What a stored teacher answers for.

    Attributes:
        dataset: Its samples, at the indices that they have in training.
        config: What the config says about the data set.
        mode: How augmentation is dealt with; see `kdhub.store.Manifest`.
        draws: Augmentations of each sample.
    """

    dataset: Any
    config: Any
    mode: str
    draws: int

    @classmethod
    def of(cls, stored: StoredTeacher, cfg: Mapping[str, Any], dataset: Any) -> TeacherData:
        """Take the training data, or build them anew without augmentation.

        Args:
            stored: The teacher, which says which.
            cfg: The run's config.
            dataset: The training data.

        Raises:
            UsageError: If the data set cannot be built as the teacher wants it, or then has other samples.
        """
        config = cfg["train_dataloader"]["dataset"]
        if stored.unaugmented is not None:
            config = _changed(config, stored.unaugmented)
            dataset = _built(config, like=dataset)
        return cls(dataset, config, stored.mode, stored.draws or 1)

    def __len__(self) -> int:
        return len(self.dataset)

    def fingerprint(self) -> str:
        """Identify the samples."""
        return data_fingerprint(self.dataset)

    def preprocessing(self, cfg: Mapping[str, Any], student: nn.Module | None) -> str:
        """Fingerprint everything between the samples and the teacher that their fingerprint does not cover, part by part.

        Args:
            cfg: The run's config.
            student: The student's preprocessor if the teacher takes what it gives, as it was built: a config does not tell
                what a model gives its preprocessor by itself.
        """
        parts = {
            "dataset": described_dataset(self.config, self.dataset),
            "collate": cfg["train_dataloader"].get("collate_fn"),
        }
        if student is not None:
            parts["student"] = [_described_module(name, one) for name, one in student.named_modules()]
        return ".".join(f"{name}-{config_fingerprint(part)}" for name, part in parts.items())


_NO_SETTINGS = frozenset({*vars(nn.Module()), "_device"})

_SPOKEN = "_said_left_out"
"""Where `BatchForm` remembers that it has seen a batch, which is no setting; stores hold it as it is after one."""


def _described_module(name: str, module: nn.Module) -> list[Any]:
    settings = {key: value for key, value in vars(module).items() if key not in _NO_SETTINGS}
    if _SPOKEN in settings:
        settings[_SPOKEN] = True
    tensors = dict(itertools.chain(module.named_buffers(recurse=False), module.named_parameters(recurse=False)))
    return [name, type(module), settings, tensors]


def require_keys(loader: DataLoader[Any]) -> None:
    """See that the samples of a data set can be told apart.

    Raises:
        UsageError: If the data are a stream.
    """
    if isinstance(loader.dataset, IterableDataset):
        raise UsageError(
            "the training data are a stream, whose samples no store can tell apart",
            where="train_dataloader.dataset",
            expected="a data set with an index and a length",
            fix="use the live teacher, or write the stream to a data set with an index",
        )


def _changed(config: Any, changes: Mapping[str, Any]) -> Any:
    if not isinstance(config, Mapping):
        raise UsageError("only a data set of a config can be built anew", where=_WHERE, got=type(config).__name__)
    whole = Config({"dataset": copy.deepcopy(dict(config))})
    whole.merge_from_dict({"dataset": copy.deepcopy(dict(changes))})
    return whole["dataset"]


def _built(config: Any, like: Any) -> Any:
    """Build a data set, and see that its samples are those of another.

    Raises:
        UsageError: If it has no such parameter, or other samples.
    """
    try:
        with preserved_randomness():  # training finds the generators where a run with the live teacher would
            dataset = DATASETS.build(copy.deepcopy(config))
            if hasattr(dataset, "full_init"):
                dataset.full_init()
    except (TypeError, LookupError, ValueError, OSError) as error:  # a wrong key, name, value or path
        raise UsageError(
            "the data set cannot be built with these changes",
            where=_WHERE,
            expected="keys and values of train_dataloader.dataset",
            got=f"{type(error).__name__}: {error.args[0] if error.args else error}"[:300],
        ) from error
    mine, theirs = data_fingerprint(dataset), data_fingerprint(like)
    if mine == f"{type(dataset).__qualname__} of {len(dataset)}":
        print_log(
            f"warning: {mine} tells nothing of its samples: that {_WHERE} leaves them the same is not checked",
            "current",
        )
    if len(dataset) == len(like) and all(hasattr(one, "get_data_info") for one in (dataset, like)):
        other = (i for i in some_indices(dataset) if not same(dataset.get_data_info(i), like.get_data_info(i)))
        index = next(other, None)
        mine = mine if index is None else f"another sample {index}"
    if mine != theirs:
        raise UsageError(
            "with these changes the data set has other samples than training",
            where=_WHERE,
            expected=theirs,
            got=mine,
            fix="change only how samples are loaded, such as the pipeline",
        )
    return dataset
