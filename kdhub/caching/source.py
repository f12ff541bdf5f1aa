"""What the values of a store come from: training data, preprocessing and a live teacher."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kdhub.caching.data import TeacherData
from kdhub.config.objectives import unaugmented_problem
from kdhub.distill.preprocess import SAMPLE_KEYS
from kdhub.distill.taps import Tap, resolved
from kdhub.distill.teachers import Teacher
from kdhub.engine.models import Distilling
from kdhub.engine.resume.sampling import KeyedCollate, KeyedDataset, SampleKey
from kdhub.errors import UsageError
from kdhub.rng import draws_nothing
from kdhub.values import map_tensors

if TYPE_CHECKING:
    from kdhub.caching.stored import StoredTeacher


_BATCH = 8
"""Samples of a batch where training has a batch sampler of its own."""


@dataclass(frozen=True)
class TeacherSource:
    """Computes what a store holds.

    Args:
        model: The distiller, whose student may preprocess for the teacher.
        teacher: The live teacher.
        taps: Its taps, on its model, by identity.
        data: What it answers for.
        loader: Training data as mmengine builds them; only collate function and workers count.
        seed: Seed of the augmentations.
    """

    model: Distilling
    teacher: Teacher
    taps: Mapping[str, Tap]
    data: TeacherData
    loader: DataLoader[Any]
    seed: int

    @classmethod
    def of(
        cls, model: Distilling, name: str, teacher: Teacher, data: TeacherData, loader: DataLoader[Any], seed: int
    ) -> TeacherSource:
        """Take the taps that the objectives read of a teacher, and find them on the live one.

        Raises:
            UsageError: For a tap whose path leads nowhere.
        """
        taps = {tap.identity: resolved(tap, teacher.model) for tap in model.taps_of(name)}
        return cls(model, teacher, taps, data, loader, seed)

    @property
    def batch_size(self) -> int:
        """Samples of a batch: as many as in training."""
        return self.loader.batch_size or _BATCH

    def batches(self, keys: Sequence[Sequence[tuple[int, int]]], workers: bool = True) -> Iterator[Any]:
        """Load batches.

        Args:
            keys: Index and draw of each sample of each batch.
            workers: Whether to use as many data workers as training does.
        """
        count = self.loader.num_workers if workers else 0
        return iter(
            DataLoader(
                KeyedDataset(self.data.dataset, self.seed, self.data.draws, attach=True),
                batch_sampler=[[SampleKey(*key) for key in batch] for batch in keys],
                collate_fn=KeyedCollate(self.loader.collate_fn, self.seed, expose=True),
                num_workers=count,
                pin_memory=self.loader.pin_memory,
                worker_init_fn=self.loader.worker_init_fn,
                multiprocessing_context=self.loader.multiprocessing_context if count else None,
                prefetch_factor=self.loader.prefetch_factor if count else None,
            )
        )

    def require_plain_collate(self, keys: Sequence[tuple[int, int]]) -> None:
        """See that collating leaves nothing to chance.

        Args:
            keys: Samples of a batch to try it on.

        Raises:
            UsageError: If it draws random numbers.
        """
        dataset = KeyedDataset(self.data.dataset, self.seed, self.data.draws)
        samples = [dataset[SampleKey(*key)] for key in keys]
        _require_no_draw(lambda: self.loader.collate_fn(samples), "train_dataloader.collate_fn")

    def answer(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Run the teacher on a batch, preprocessed as in training; return tap to value.

        Raises:
            UsageError: If preprocessing draws random numbers.
        """
        raw = {name: value for name, value in batch.items() if name != SAMPLE_KEYS}
        self.teacher.values(self._preprocessed(raw), list(self.taps.values()), check_mode=True)
        return {identity: map_tensors(torch.detach, tap.read()) for identity, tap in self.taps.items()}

    @property
    def student_preprocessor(self) -> nn.Module | None:
        """The student's preprocessor, if the teacher takes what it gives."""
        return self.model.student.data_preprocessor if self.teacher.batch == "student" else None

    def _preprocessed(self, raw: Any) -> Any:
        student, made = self.student_preprocessor, []
        prepare = self.teacher.preprocess if student is None else student
        _require_no_draw(lambda: made.append(prepare(raw, True)), "the data_preprocessor")
        return made[0]

    def answers(self, keys: Sequence[Sequence[tuple[int, int]]]) -> list[dict[str, Any]]:
        """Load a few batches and run the teacher on each."""
        return [self.answer(batch) for batch in self.batches(keys, workers=False)]

    def to(self, device: torch.device) -> None:
        """Move to a device what runs there."""
        self.teacher.to(device)
        self.model.student.data_preprocessor.to(device)


def require_allowed(model: Distilling, name: str, stored: StoredTeacher) -> None:
    """See that the losses bear how their teacher's samples were augmented.

    Raises:
        UsageError: If the teacher saw them un-augmented and the method of a loss does not allow it.
    """
    if stored.unaugmented is None:
        return
    for objective, spec in model.specs_of(name).items():
        if problem := unaugmented_problem(spec, f"model.objectives.{objective}"):
            raise problem


def _require_no_draw(run: Callable[[], Any], where: str) -> None:
    if not draws_nothing(run):
        raise UsageError(
            "random numbers are drawn for a batch as a whole, and the same samples come in other batches in training",
            where=where,
            fix="augment in the data set's pipeline, sample by sample, or use the live teacher",
        )


LEAST_SPREAD = 0.05
"""By what part of their norm samples are taken to differ at least; below, rounding would count as a difference."""


def worst_difference(one: Sequence[Tensor | list[Tensor]], other: Sequence[Tensor | list[Tensor]]) -> float:
    """Compare the columns of two values sample by sample, by how much samples differ from each other.

    Args:
        one: Columns of a value, as `kdhub.store.Node.split` yields them.
        other: Columns that it is compared with.

    Returns:
        The largest norm of a sample's difference, over the root mean square norm by which the samples of its column differ from
        their mean (*why not over their norm:* with an offset that all share, one sample would pass for another); infinite for
        shapes or exact values that differ.
    """
    return max((_column_difference(list(a), list(b)) for a, b in zip(one, other, strict=True)), default=0.0)


def _column_difference(one: list[Tensor], other: list[Tensor]) -> float:
    if [entry.shape for entry in one] != [entry.shape for entry in other]:
        return math.inf
    if not all(entry.is_floating_point() for entry in other):
        return 0.0 if all(map(torch.equal, one, other)) else math.inf
    pairs = [(a.double(), b.double()) for a, b in zip(one, other, strict=True)]
    # a class ruled out by -inf is no difference where both rule it out
    differences = [torch.linalg.vector_norm(torch.where(a == b, 0.0, a - b)) for a, b in pairs]
    worst = float(torch.stack(differences).max()) if differences else 0.0
    if worst == 0:
        return 0.0
    spread = _spread([torch.where(b.isfinite(), b, 0.0) for _, b in pairs])
    return worst / spread if spread and math.isfinite(worst) else math.inf


def _spread(samples: list[Tensor]) -> float:
    sizes = float(torch.stack([torch.linalg.vector_norm(sample) for sample in samples]).square().mean().sqrt())
    if len(samples) < 2 or len({sample.shape for sample in samples}) > 1:
        return sizes
    stacked = torch.stack(samples)
    apart = (stacked - stacked.mean(0)).flatten(1)
    return max(float(torch.linalg.vector_norm(apart, dim=1).square().mean().sqrt()), LEAST_SPREAD * sizes)
