"""`StoredTeacher`: a teacher whose answers were written to disk by `kdhub cache`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from mmengine.logging import print_log
from torch.utils.data import DataLoader

from kdhub.caching.metrics import describe_metrics, find_metrics
from kdhub.caching.opening import open_store
from kdhub.distill.arguments import integer, number, optional, require
from kdhub.distill.taps import Tap
from kdhub.distill.teachers import CONFIG_MARKER, ModelTeacher, Replay, Teacher
from kdhub.engine.models import Distilling, teachers_of
from kdhub.engine.report.commands import cache_command
from kdhub.errors import UsageError, near_matches
from kdhub.registry import build
from kdhub.store import StoreReader
from kdhub.store.precision import Precision
from kdhub.values import map_tensors

_UNREPEATABLE = {
    "auto": "decides by measuring while it runs, so two fillings of one store could differ",
    "amp": "follows the precision of whoever runs it, so two fillings of one store could differ",
}
"""Precisions of a live teacher that say too little about its answers to store them under their name."""


class _Key(Protocol):
    """Index of a sample, with the number of times it was drawn before."""

    draw: int

    def __int__(self) -> int: ...


class StoredTeacher(Teacher):
    """A teacher that answers from a store, and never with the value of another sample, augmentation, tap or teacher.

    One config serves both commands: ``kdhub cache CONFIG`` runs the live teacher once over the training data and fills
    the store; ``kdhub train CONFIG`` answers from it, after comparing all that the values depend on. A store may hold
    more taps than a run reads, so that one store serves several methods.

    Args:
        store: Folder of the store.
        teacher: Config of the live teacher. It is built on the CPU at the start of training too, to see that the store is
            of this teacher and, on a few entries, that it would answer the same today; then it leaves memory. Where
            its checkpoint is missing only its config is compared; with ``None`` the store's word is taken for it. Its own ``precision`` is that
            of its passes, and part of its identity: ``float32`` or ``bfloat16``.
        precision: Form in which floats are kept: ``float32``, ``float16``, ``bfloat16``, or ``topk:K`` for the K largest
            logits of each position and one number for all others (see `kdhub.store.precision.Precision`); or a dict of
            tap to form, where taps that are left out are kept in float32. `kdhub cache` says what it costs.
        draws: How many augmentations of each sample to store. Training replays them in turn, with the seed of the store.
            ``None``: each sample is stored once, for a data pipeline that is deterministic.
        unaugmented: What to change in ``train_dataloader.dataset`` so that it loads its samples without augmentation, such
            as ``dict(pipeline=test_pipeline)``. The teacher is then asked once a sample, whatever views of it the student
            is trained on. For losses whose `LossSpec` allows it, and values that say something of the sample as a whole.
        verify: How many random entries to compare with the live teacher at the start of training.
        max_error: Largest relative error at which two answers of the live teacher count as the same: alone or in another
            batch, today or when it was stored. As for `ModelTeacher`, far above what another device's kernels make of
            the same weights, and far below what another image does.

    Raises:
        UsageError: For values that do not fit, and for what the live teacher refuses.
    """

    batch = "keys"

    def __init__(
        self,
        store: str,
        teacher: Mapping[str, Any] | None = None,
        precision: str | Mapping[str, str] = "float32",
        draws: int | None = None,
        unaugmented: Mapping[str, Any] | None = None,
        verify: int = 8,
        max_error: float = 0.02,
    ) -> None:
        if not isinstance(store, str | Path):
            raise UsageError("StoredTeacher: bad store", expected="the path of a folder", got=repr(store))
        if teacher is not None and not isinstance(teacher, Mapping):
            raise UsageError(
                "StoredTeacher: bad teacher", expected="dict(type='kdhub.ModelTeacher', ...)", got=repr(teacher)
            )
        require("StoredTeacher", optional(integer(1)), draws=draws)
        if unaugmented is not None:
            _require_changes(unaugmented, draws)
        require("StoredTeacher", integer(0), verify=verify)
        require("StoredTeacher", number(above=0), max_error=max_error)
        for form in precision.values() if isinstance(precision, Mapping) else (precision,):
            Precision.parse(form, "StoredTeacher.precision")
        _require_repeatable(teacher)
        self.store = Path(store).expanduser()
        self.draws = draws
        self.unaugmented = unaugmented
        self.verify = verify
        self.max_error = max_error
        self._precision = precision
        self.device = torch.device("cpu")
        # here, where a live teacher would be built: whatever random numbers that draws, what follows finds the
        # generators where it would in the live run
        self.live = _build_live(teacher)
        self._config_only = None if self.live is not None else _config_fingerprint(teacher)
        self.class_names = self.live.class_names if self.live is not None else None

    @cached_property
    def reader(self) -> StoreReader:
        """The store.

        Raises:
            UsageError: If there is none, or it is damaged.
        """
        reader = StoreReader(self.store)
        if self.live is None:
            self.class_names = reader.manifest.class_names
        return reader

    @property
    def mode(self) -> str:
        """How the store deals with augmentation; see `kdhub.store.Manifest`."""
        if self.unaugmented is not None:
            return "unaugmented"
        return "plain" if self.draws is None else "recorded"

    def wanted_fingerprint(self) -> str:
        """Return what the store's teacher must be, as far as the config and what is on this machine tell.

        Without the live teacher's weights its config is still compared; of what is not known the store's word is taken.
        """
        if self.live is not None:
            return self.live.fingerprint()
        recorded = self.reader.manifest.teacher
        weights, marker, _ = recorded.partition(CONFIG_MARKER)
        return f"{weights}{self._config_only}" if marker and self._config_only else recorded

    def facts(self) -> dict[str, Any]:
        """Describe the live teacher, as its store has it."""
        return dict(self.reader.manifest.model or super().facts())

    def prepare(self, model: Distilling, name: str, cfg: Mapping[str, Any], loader: DataLoader[Any]) -> Replay:
        """Open the store, and let the live teacher go; see `kdhub.caching.opening.open_store`."""
        return open_store(self, model, name, cfg, loader)

    def recorded_metrics(self, cfg: Mapping[str, Any], loader: DataLoader[Any]) -> Mapping[str, Any] | None:
        """Look up what `kdhub cache` measured on exactly this validation; where it did not, say how to."""
        entry = find_metrics(self.reader.manifest, cfg, loader)
        if entry is None:
            print_log(
                f"{self.store} has no metrics for this validation; to record them: {cache_command(cfg)}", "current"
            )
            return None
        print_log(f"{self.store}: {describe_metrics(entry)}", "current")
        return dict(entry["metrics"])

    def release(self) -> None:
        """Let the live teacher go; from here on the store answers."""
        self.live = None

    def precisions(self, taps: Iterable[str], stored: Collection[str] = ()) -> dict[str, str]:
        """Return the form in which each tap is kept.

        Args:
            taps: Taps that the objectives read.
            stored: Taps that the store has; the config may name the form of these too.

        Raises:
            UsageError: If the config names another tap.
        """
        names = tuple(taps)
        if isinstance(self._precision, str):
            return dict.fromkeys(names, self._precision)
        for name in self._precision:
            if name not in names and name not in stored:
                raise UsageError(
                    f"no objective reads {name!r} of this teacher",
                    where="StoredTeacher.precision",
                    expected=" or ".join(map(repr, names)),
                    near=near_matches(name, names),
                )
        return {name: self._precision.get(name, "float32") for name in names}

    def values(self, batch: Sequence[_Key] | None, taps: Sequence[Tap], *, check_mode: bool) -> None:
        """Look up what the live teacher answered for these samples in these augmentations.

        Args:
            batch: Keys of the samples.
            taps: Taps that shall answer.
            check_mode: Unused; the live teacher was in eval mode when it answered.

        Raises:
            UsageError: If the batch has no keys, or the store lacks a sample or a tap.
            DamagedStoreError: If a record is damaged.
        """
        if batch is None:
            raise UsageError(
                "the batch does not say which samples it holds, so a stored teacher cannot answer",
                where=str(self.store),
                fix="train with `kdhub train` or `kdhub.engine.train.train`, which attach the keys of the samples",
            )
        draws = self.reader.manifest.draws
        for tap in taps:
            if tap.identity not in self.reader.manifest.taps:
                raise UsageError(
                    f"the teacher store has no values of {tap}",
                    where=str(self.store),
                    expected=", ".join(self.reader.manifest.taps),
                )
        keys = [(int(key), key.draw % draws) for key in batch]
        stored = self.reader.read(keys, taps={tap.identity for tap in taps})
        for tap in taps:
            tap.answer(map_tensors(lambda tensor: tensor.to(self.device, non_blocking=True), stored[tap.identity]))

    def fingerprint(self) -> str:
        """Identify the teacher that answered, and the form in which its answers were kept.

        Raises:
            UsageError: If there is no store.
        """
        manifest = self.reader.manifest
        return f"{manifest.teacher}.store-{manifest.fingerprint}"

    def to(self, device: torch.device) -> None:
        """Answer on this device."""
        self.device = device


def stored_teachers(model: Any) -> dict[str, StoredTeacher]:
    """Return the stored teachers of a distiller by name; any other model has none."""
    return {name: one for name, one in teachers_of(model).items() if isinstance(one, StoredTeacher)}


def _require_changes(unaugmented: Any, draws: int | None) -> None:
    """Refuse what does not say how samples are loaded without augmentation.

    Raises:
        UsageError: If it is no dict, an empty one, or stands beside ``draws``.
    """
    if not isinstance(unaugmented, Mapping) or not unaugmented:
        raise UsageError(
            "not what to change in train_dataloader.dataset",
            where="StoredTeacher.unaugmented",
            expected="a dict, such as dict(pipeline=test_pipeline)",
            got=repr(unaugmented),
        )
    if draws is not None:
        raise UsageError(
            "the teacher sees either augmented samples or un-augmented ones",
            where="StoredTeacher.unaugmented",
            got=f"draws={draws} beside it",
            fix="leave out one of the two",
        )


def _require_repeatable(teacher: Mapping[str, Any] | None) -> None:
    """Refuse a live teacher whose answers depend on more than its config.

    Raises:
        UsageError: If its precision is ``auto`` or ``amp``.
    """
    precision = (teacher or {}).get("precision")
    if precision in _UNREPEATABLE:
        raise UsageError(
            f"a teacher in precision {precision!r} cannot be stored: it {_UNREPEATABLE[precision]}",
            where="StoredTeacher.teacher.precision",
            expected="'bfloat16' or 'float32'",
            got=repr(precision),
            fix="name 'bfloat16' if the teacher bears it (it is measured, and refused if not), or 'float32'",
        )


def _config_fingerprint(teacher: Mapping[str, Any] | None) -> str | None:
    """Return what identifies all but the weights of a live teacher whose checkpoint is not here; ``None`` if nothing tells."""
    if teacher is None:
        return None
    try:
        with torch.random.fork_rng(devices=[]):
            live = build("teacher", {**teacher, "checkpoint": None, "own_weights": True})
    except Exception as error:  # noqa: BLE001 - its library, too, may be missing where the store replaces it
        print_log(f"the live teacher's config cannot be compared: {error}", "current")
        return None
    return live.config_fingerprint() if isinstance(live, ModelTeacher) else None


def _build_live(teacher: Mapping[str, Any] | None) -> Teacher | None:
    if teacher is None:
        return None
    checkpoint = teacher.get("checkpoint")
    if isinstance(checkpoint, str) and "://" not in checkpoint and not Path(checkpoint).expanduser().is_file():
        print_log(f"the live teacher's checkpoint {checkpoint} is not here", "current")
        return None
    live: Teacher = build("teacher", teacher)
    if live.batch in ("keys", "after_student"):
        raise UsageError(
            f"{type(live).__name__} cannot be stored: its answers do not depend on the sample alone",
            expected="the config of a live teacher that reads the batch",
        )
    return live
