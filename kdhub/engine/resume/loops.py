"""Training loops that go on from where a checkpoint was taken, also within an epoch, without reading data twice.

Both differ from mmengine's loops of the same names in three more points: iterating over data draws none of training's
random numbers; neither does an evaluation; and an evaluation that was due when the process died is made up for on resume.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader

from kdhub.engine.faults.samples import explained_batch
from kdhub.engine.resume.data_identity import dataset_facts
from kdhub.engine.resume.sampling import SkippingBatches, start
from kdhub.errors import UsageError
from kdhub.rng import preserved_randomness

_END = object()


class Batches:
    """Batches of a loader, pass after pass over the data.

    Args:
        loader: From `kdhub.engine.resume.sampling.keyed_loader`.

    Attributes:
        passes: Passes that came before the present one.
        done: Batches of the present pass that were handed out.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.passes = self.done = 0
        self._loader = loader
        self._running: Iterator[Any] | None = None

    def enter(self, passes: int, done: int) -> None:
        """Stand at a batch of a pass; nothing is read yet."""
        self.passes, self.done, self._running = passes, done, None

    def close(self) -> None:
        """Let go of what was read ahead, and of data workers that are not persistent.

        Once they are garbage in a cycle they cannot be told to stop, and torch waits 5 seconds for each.
        """
        self._running = None

    def rest_of_pass(self) -> Iterator[Any]:
        """Hand out what is left of the present pass; then the present pass is the next one.

        Raises:
            UsageError: If a whole pass has no batch.
        """
        while (batch := self._next()) is not _END:
            yield batch
        if self.done == 0:
            raise _no_batch()
        self.enter(self.passes + 1, 0)

    def __iter__(self) -> Iterator[Any]:
        """Hand out batches without end."""
        return self

    def __next__(self) -> Any:
        """Hand out a batch, of the next pass if the present one is over.

        Raises:
            UsageError: If a whole pass has no batch.
        """
        batch = self._next()
        if batch is _END:
            self.enter(self.passes + 1, 0)
            batch = self._next()
        if batch is _END:
            raise _no_batch()
        return batch

    def indices(self) -> Sequence[int]:
        """Return the samples of the batch that was handed out last; none where their order cannot be had again."""
        sampler = self._loader.batch_sampler
        if not isinstance(sampler, SkippingBatches) or not sampler.repeatable or self.done == 0:
            return ()
        sampler.start_at(self.passes, self.done - 1)
        return next(iter(sampler), ())

    def _next(self) -> Any:
        if self._running is None:
            self._running = start(self._loader, self.passes, self.done)
        batch = next(self._running, _END)
        self.done += batch is not _END
        return batch


def _no_batch() -> UsageError:
    return UsageError(
        "the training data give no batch, so nothing would be trained",
        where="train_dataloader",
        fix="give it more samples, a smaller batch_size, or drop_last=False",
    )


def _require_length(dataset: Any) -> None:
    """See that the data have a length, which hooks ask for."""
    if not hasattr(dataset, "__len__"):
        raise UsageError(
            "the training data have no length, which mmengine's hooks ask for",
            where="train_dataloader.dataset",
            got=type(dataset).__name__,
            fix="give it a __len__: of a stream, how many samples one pass gives",
        )


def _require_training(key: str, value: int) -> None:
    if value < 1:
        raise UsageError(
            "nothing would be trained", where=f"train_cfg.{key}", expected="a number from 1", got=str(value)
        )


class Resumable:
    """What both loops do around their iterations."""

    runner: Any
    dataloader: DataLoader[Any]
    batches: Batches
    finish_resuming: Callable[[], None] | None = None
    """Restores what hooks would disturb when they begin, such as random numbers; called before the first iteration."""

    evaluated_at = 0
    """Iteration of the last evaluation that was begun, so that a checkpoint tells whether one was still due."""

    left_generators: dict[str, Any] | None = None
    """Where training left the random number generators, while an evaluation draws from them; ``None`` otherwise."""

    iter: int
    _iter: int
    _decide_current_val_interval: Callable[[], None]
    _evaluation_is_due: Callable[[], bool]

    counts: ClassVar[str]
    """What the loop counts, as a checkpoint tells it."""

    @functools.cached_property
    def data_facts(self) -> dict[str, Any]:
        """What the training data are; a data set may take its time to tell."""
        return dataset_facts(self.dataloader.dataset)

    def run_iter(self, *arguments: Any) -> None:
        """Train on a batch."""
        with explained_batch(self.batches.indices, self.dataloader.dataset):
            super().run_iter(*arguments)  # type: ignore[misc]

    def _require_rest(self, done: int, end: int, key: str) -> None:
        """See that a run that goes on has not gone further than it is to go now."""
        if done > end:
            raise UsageError(
                f"nothing is left to train: the checkpoint is of {done} {self.counts}",
                where=f"train_cfg.{key}",
                expected=f"at least {done}",
                got=str(end),
                fix="raise it, or name an earlier checkpoint: --resume PATH",
            )

    def _finish_resuming(self) -> None:
        if self.finish_resuming is not None:
            self.finish_resuming()
            self.finish_resuming = None

    def _evaluate_if_due(self) -> None:
        self._decide_current_val_interval()
        if self.runner.val_loop is None or self.evaluated_at == self._iter or not self._evaluation_is_due():
            return
        self.evaluated_at = self._iter
        with preserved_randomness() as self.left_generators:
            try:
                self.runner.val_loop.run()
            finally:
                self.left_generators = None

    def _make_up_for_evaluation(self) -> None:
        """Evaluate if the process died between a checkpoint and the end of the evaluation that followed."""
        evaluations = self.runner.run_card.content.get("evaluations", [])
        if evaluations and evaluations[-1]["iteration"] == self._iter != self.evaluated_at:
            evaluations.pop()  # it will be recorded once more
        self._evaluate_if_due()


class KdhubIterLoop(Resumable, IterBasedTrainLoop):
    """Counts iterations; arguments as for mmengine's `IterBasedTrainLoop`."""

    counts = "iterations"

    def __init__(self, runner: Any, dataloader: DataLoader[Any], *arguments: Any, **options: Any) -> None:
        _require_length(dataloader.dataset)
        IterBasedTrainLoop.__init__(self, runner, dataloader, *arguments, **options)
        _require_training("max_iters", self._max_iters)
        # in place of mmengine's, which older versions set to work at once
        self.batches = self.dataloader_iterator = Batches(self.dataloader)

    def run(self) -> Any:
        """Train."""
        self._require_rest(self._iter, self._max_iters, "max_iters")
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self._finish_resuming()
        if self._iter > 0:
            self._make_up_for_evaluation()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.batches))
            self._evaluate_if_due()
        self.batches.close()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _evaluation_is_due(self) -> bool:
        return bool(self._iter >= self.val_begin) and (
            self._iter % self.val_interval == 0 or self._iter == self._max_iters
        )


class KdhubEpochLoop(Resumable, EpochBasedTrainLoop):
    """Counts epochs; arguments as for mmengine's `EpochBasedTrainLoop`."""

    counts = "epochs"

    def __init__(self, runner: Any, dataloader: DataLoader[Any], *arguments: Any, **options: Any) -> None:
        _require_length(dataloader.dataset)
        EpochBasedTrainLoop.__init__(self, runner, dataloader, *arguments, **options)
        _require_training("max_epochs", self._max_epochs)
        if len(self.dataloader) == 0:
            raise _no_batch()
        self.batches = Batches(self.dataloader)

    def run(self) -> Any:
        """Train."""
        self._require_rest(self._epoch, self._max_epochs, "max_epochs")
        self.runner.call_hook("before_train")
        if self.batches.done == 0:
            self._finish_resuming()
            if self._epoch > 0:
                self._make_up_for_evaluation()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._evaluate_if_due()
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        """Train for one epoch, or for what is left of it."""
        self.runner.call_hook("before_train_epoch")
        self._finish_resuming()
        self.runner.model.train()
        for index, batch in enumerate(self.batches.rest_of_pass(), self.batches.done):
            self.run_iter(index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _evaluation_is_due(self) -> bool:
        return bool(self._epoch >= self.val_begin) and (
            self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        )
