"""`cache_teachers`: runs live teachers once over the training data, and fills the stores that a config names."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_gather_object, barrier, get_rank, get_world_size, init_dist, is_main_process
from mmengine.logging import MMLogger, print_log
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import set_random_seed
from torch import distributed
from torch.utils.data import DataLoader

from kdhub.caching.data import TeacherData, require_keys
from kdhub.caching.metrics import record_metrics
from kdhub.caching.source import TeacherSource, require_allowed, worst_difference
from kdhub.caching.stored import StoredTeacher, stored_teachers
from kdhub.checkpoint import safe_loading
from kdhub.checkpoint.agreement import agreed
from kdhub.config.standing import model_as_trained
from kdhub.distill.teachers import Teacher
from kdhub.engine.defaults import require_parts
from kdhub.engine.distributed import decided_by_main_process, process_group
from kdhub.engine.faults.explained import explained
from kdhub.engine.hooks.interrupt import Interrupted
from kdhub.engine.libraries import import_library
from kdhub.engine.models import Distilling
from kdhub.engine.report.commands import cache_command
from kdhub.engine.report.console import data_size, talk_on_console
from kdhub.engine.report.progress import Progress
from kdhub.engine.resume.replay import require_replayable, spread_indices
from kdhub.engine.runner import KdhubRunner
from kdhub.engine.workdir.lock import folder_lock
from kdhub.errors import ToldElsewhereError, UsageError, placed
from kdhub.files import storage_error
from kdhub.inner import described_model
from kdhub.registry import init
from kdhub.rng import preserved_randomness
from kdhub.store import (
    DamagedStoreError,
    Manifest,
    Node,
    StoreInfo,
    StoreWriter,
    find_tree,
    measured_errors,
    merge_store,
    repair,
    store_info,
)
from kdhub.store.blocks import refuse_foreign
from kdhub.store.manifest import WRITE_FIX, other_store_error
from kdhub.values import describe, tensors_in

_PROBED = 8
"""Samples on which it is found out what the values are made of, at least three: a batch and its two parts."""

_PATIENCE = timedelta(days=2)
"""How long processes wait for each other: the main process checks and merges a large store while the others wait."""


@dataclass(frozen=True, slots=True)
class CacheResult:
    """What was done to one store.

    Attributes:
        teacher: Name of the teacher in the config.
        path: Folder of the store.
        written: Records that were computed now.
        info: What is in the store.
    """

    teacher: str
    path: str
    written: int
    info: StoreInfo


def cache_teachers(cfg: Any, *, launcher: str = "none") -> list[CacheResult]:
    """Fill the stores of all stored teachers of a config; what a store has already is not computed again.

    Where the config says how to validate, each teacher is evaluated too, and its store keeps the metrics. Under torchrun
    each process computes its share and writes a shard of its own.

    Args:
        cfg: The config that `kdhub.engine.train.train` is to be called with; it is not changed.
        launcher: ``none``, or ``pytorch`` under torchrun.

    Raises:
        UsageError: If the values cannot be stored: the data pipeline augments and no draws are asked for, or a value
            depends on the other samples of the batch; if the folder holds another store; for a full disk, and for what
            stops a run from outside.
        Interrupted: If the user stopped it; what was computed is stored.
    """
    init()
    cfg = copy.deepcopy(cfg)
    require_parts(cfg, ("model", "train_dataloader"), "training", fix="give the config that you train with")
    with process_group(cfg, launcher, _PATIENCE), safe_loading(), explained(cfg, lambda: cache_command(cfg)):
        if launcher != "none" and not distributed.is_initialized():
            init_dist(launcher, backend="nccl", timeout=int(_PATIENCE.total_seconds()))
        with _interruptible(cfg):
            return _cache(cfg)


def _cache(cfg: Any) -> list[CacheResult]:
    talk_on_console(MMLogger.get_current_instance())
    import_library(cfg)
    init_default_scope(cfg.get("default_scope") or "mmengine")
    seed = int((cfg.get("randomness") or {}).get("seed") or 0)
    # as a run does before it builds its model: a teacher without a checkpoint is then the one that the run would get
    set_random_seed(seed)
    model = MODELS.build(model_as_trained(cfg))
    stored = stored_teachers(model)
    if not stored:
        raise UsageError(
            "the config has no stored teacher",
            where="model.teacher",
            expected="dict(type='kdhub.StoredTeacher', store='stores/NAME', teacher=dict(type='kdhub.ModelTeacher', ...))",
        )
    _require_folders(stored)
    loader = KdhubRunner.build_dataloader(copy.deepcopy(cfg.train_dataloader), seed=seed)
    require_keys(loader)
    with ExitStack() as locks:
        written = {name: _fill(cfg, model, name, teacher, loader, seed, locks) for name, teacher in stored.items()}
        for name, teacher in stored.items():  # once all is stored that training needs
            record_metrics(cfg, name, teacher, model.student)
    return [
        CacheResult(name, str(teacher.store), written[name], store_info(teacher.store))
        for name, teacher in stored.items()
    ]


def _require_folders(stored: Mapping[str, StoredTeacher]) -> None:
    """See that each teacher has a folder of its own.

    Raises:
        UsageError: If two share one.
    """
    for (name, one), (other, two) in itertools.combinations(stored.items(), 2):
        if one.store.resolve() == two.store.resolve():
            raise UsageError(
                f"teachers {name!r} and {other!r} have one store",
                where=f"model.teachers.{other}.store",
                got=str(two.store),
                fix="give each a folder of its own; objectives that read one teacher name that teacher",
            )


def _fill(
    cfg: Any,
    model: Distilling,
    name: str,
    stored: StoredTeacher,
    loader: DataLoader[Any],
    seed: int,
    locks: ExitStack,
) -> int:
    """Fill one store, whose lock is held until ``locks`` is closed; return how many records were written."""
    live = stored.live
    if live is None:
        raise UsageError(
            f"teacher {name!r} cannot be run: its config or its checkpoint is missing",
            where="model.teacher",
            expected="kdhub.StoredTeacher(..., teacher=<config of the live teacher>)",
        )
    if not model.taps_of(name):
        raise UsageError(f"no objective reads teacher {name!r}, so there is nothing to store", where="model.objectives")
    if stored.store.exists() and not stored.store.is_dir():
        raise UsageError("the store is a file", where=str(stored.store), expected="a folder, or a name for a new one")
    require_allowed(model, name, stored)
    data = TeacherData.of(stored, cfg, loader.dataset)
    seed = seed if data.mode == "recorded" else 0  # one store serves the runs of all seeds
    decided_by_main_process(lambda: require_replayable(data.dataset, seed, data.mode))
    source = TeacherSource.of(model, name, live, data, loader, seed)
    source.to(torch.device(get_device()))
    with placed(f"teacher {name!r}"), preserved_randomness():
        manifest = agreed(lambda: _manifest(cfg, stored, live, source, seed))
        _require_alike(manifest)
    writer = _open(stored.store, manifest, locks)
    keys = [(index, draw) for draw in range(data.draws) for index in range(len(data))]
    missing = writer.missing(keys)
    barrier()  # before anybody writes: all must see the same samples missing
    agreed(lambda: _tell_what_is_missing(writer, source, name, len(missing), len(keys)))
    _write(writer, source, keys, source.batch_size, name)
    barrier()  # all shards are whole
    decided_by_main_process(lambda: merge_store(stored.store, writer.manifest))
    return len(missing)


def _require_alike(manifest: Manifest) -> None:
    """See that all processes have the same teacher and data: the manifest stands for what each of them writes.

    Raises:
        UsageError: If one differs from the main process.
    """
    for rank, other in enumerate(all_gather_object(manifest)):
        if different := manifest.differences(other):
            raise UsageError(
                f"process {rank} has another teacher or other data than process {get_rank()}",
                got="; ".join(different),
                fix="give every machine the same files",
            )


def _open(folder: Path, manifest: Manifest, locks: ExitStack) -> StoreWriter:
    """Repair and begin the store in the main process, then let every process add a shard."""

    def take() -> tuple[Manifest, list[str]]:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            refuse_foreign(folder)  # before the lock, which would leave a file there
        except OSError as error:
            raise storage_error(folder, error, WRITE_FIX) from error
        taken, wait = "another `kdhub cache` is filling this store", "wait for it or stop it"
        warning = locks.enter_context(folder_lock(folder, taken, wait, WRITE_FIX))
        lines = [*([warning] if warning else []), *_repaired(folder, manifest)]
        present = Manifest.read(folder)
        if present is not None and (shortcomings := manifest.shortcomings(present)):
            raise other_store_error(folder, shortcomings)
        wanted = manifest if present is None else manifest.with_taps_of(present)
        StoreWriter.open(folder, wanted)
        return wanted, lines

    wanted, lines = decided_by_main_process(take)
    for line in lines:
        print_log(line, "current")
    return StoreWriter.open(folder, wanted, rank=get_rank())


def _repaired(folder: Path, manifest: Manifest) -> list[str]:
    """Check a store whole and take out what is damaged; return what to say about it."""
    with Progress("checking the store") as progress:
        damage = [error.what for error in repair(folder, manifest, progress.reach)]
    if Manifest.read(folder) is None:
        return damage
    info = store_info(folder)
    checked = f"{folder}: checked {info.records} records, {data_size(info.bytes)}"
    return [*damage, checked] if info.records else damage


def _tell_what_is_missing(writer: StoreWriter, source: TeacherSource, name: str, missing: int, wanted: int) -> None:
    """Say how much there is to do, once it is sure that it can be done.

    Raises:
        UsageError: If records are missing that have more taps than this config reads.
    """
    others = [tap for tap in writer.manifest.taps if tap not in source.taps]
    if missing and others:
        raise UsageError(
            f"the store of teacher {name!r} is not complete, and holds taps that this config does not read",
            where=str(writer.path),
            expected=f"{wanted} records",
            got=f"{wanted - missing}, with {', '.join(map(repr, others))}",
            fix="complete it with the config that it was begun with, or name another folder for this one",
        )
    besides = f", with {', '.join(map(repr, others))}, which this config does not read" if others else ""
    print_log(f"teacher {name!r}: {wanted - missing} of {wanted} records are there already{besides}", "current")


def _write(
    writer: StoreWriter, source: TeacherSource, keys: Sequence[tuple[int, int]], batch_size: int, name: str
) -> None:
    if writer.manifest.batch_size in (batch_size, None):
        # the same batches whatever is missing: sums have other last bits in a batch of another size
        batches = [batch for batch in _cut(keys, batch_size) if writer.missing(batch)]
    else:
        batches = _cut(writer.missing(keys), batch_size)
    records = sum(map(len, batches))
    batches = batches[get_rank() :: get_world_size()]
    caching = Progress(f"caching teacher {name!r}", records, get_world_size())
    with placed(f"teacher {name!r}"), caching as progress, writer:
        try:
            for some, batch in zip(batches, source.batches(batches), strict=True):
                writer.add(some, source.answer(batch))
                progress.advance(len(some))
            writer.commit()  # here, so that Ctrl-C meanwhile does not lose it
        except KeyboardInterrupt:
            writer.commit()
            raise


def _cut(keys: Sequence[tuple[int, int]], size: int) -> list[Sequence[tuple[int, int]]]:
    return [keys[first : first + size] for first in range(0, len(keys), size)]


def _manifest(cfg: Any, stored: StoredTeacher, live: Teacher, source: TeacherSource, seed: int) -> Manifest:
    data = source.data
    count = min(max(3, min(source.batch_size, _PROBED)), len(data))
    if count < 3:
        raise UsageError("too few samples to store a teacher for", where="train_dataloader.dataset", got=str(count))
    whole = [(index, 0) for index in spread_indices(len(data), count)]
    source.require_plain_collate(whole)
    parts = [whole, whole[: count // 2 + 1], whole[count // 2 + 1 :]]
    answers = source.answers(parts)
    observed = {
        tap: [(len(keys), answer[tap]) for keys, answer in zip(parts, answers, strict=True)] for tap in source.taps
    }
    precisions = stored.precisions(source.taps, _taps_there(stored.store))
    for tap, values in observed.items():
        _require_independent(tap, values, stored.max_error)
    trees = {tap: find_tree(values, precisions[tap], tap) for tap, values in observed.items()}
    if data.mode == "unaugmented":
        for tap, tree in trees.items():
            _require_whole(tap, tree, observed[tap][0][1])
    return Manifest(
        teacher=live.fingerprint(),
        taps=tuple(source.taps),
        mode=data.mode,
        draws=data.draws,
        seed=seed if data.mode == "recorded" else None,
        samples=len(data),
        data=data.fingerprint(),
        preprocessing=data.preprocessing(cfg, source.student_preprocessor),
        precision=precisions,
        trees={tap: tree.to_json() for tap, tree in trees.items()},
        errors={tap: measured_errors(tree, observed[tap], precisions[tap], tap) for tap, tree in trees.items()},
        class_names=live.class_names,
        batch_size=source.batch_size,
        model=None if live.model is None else described_model(live.model),
    )


def _taps_there(folder: Path) -> tuple[str, ...]:
    try:
        manifest = Manifest.read(folder)
    except DamagedStoreError:
        return ()  # it is repaired before anybody relies on it
    return () if manifest is None else manifest.taps


def _require_whole(tap: str, tree: Node, value: Any) -> None:
    """See that a value says something of a sample as a whole, which holds for any view of it.

    Raises:
        UsageError: If it says something of places, which the student's augmentation moves.
    """
    if tree.located:
        raise UsageError(
            "the value says something of places in the sample, which are elsewhere in what the student sees",
            where=tap,
            expected="at most one axis besides the batch, as classes or an embedding have",
            got=describe(value),
            fix="store n augmentations of each sample: draws=n in the place of unaugmented, in kdhub.StoredTeacher",
        )


def _require_independent(tap: str, observed: Sequence[tuple[int, Any]], limit: float) -> None:
    """See that a sample's value is the same alone and among others.

    Raises:
        UsageError: If it is not.
    """
    fix = (
        "tap what it is computed from, one value a sample (embeddings instead of their similarities), and leave the rest"
        " to the loss; or use the live teacher"
    )
    if _has_axis_of_samples(observed):
        shapes = [tuple(tensor.shape) for tensor in tensors_in(observed[0][1])]
        raise UsageError(
            "the value compares the samples of a batch with each other, so it cannot be stored",
            where=tap,
            got=f"{shapes[0]} from a batch of {observed[0][0]}",
            fix=fix,
        )
    tree = find_tree(observed, where=tap)
    whole, first, second = (list(tree.split(value, size, tap)) for size, value in observed)
    error = worst_difference(whole, [[*a, *b] for a, b in zip(first, second, strict=True)])
    if error > limit:
        raise UsageError(
            "a sample's value depends on the other samples of the batch, so it cannot be stored",
            where=tap,
            expected=f"at most {limit:g} of what samples differ by, between one batch and another",
            got=f"{error:.2g}",
            fix=fix,
        )


def _has_axis_of_samples(observed: Sequence[tuple[int, Any]]) -> bool:
    """Whether a tensor has an axis besides the first that is always as long as the batch."""
    shapes = [[tensor.shape[1:] for tensor in tensors_in(value)] for _, value in observed]
    sizes = tuple(size for size, _ in observed)
    return any(
        axis == sizes for tensor in zip(*shapes, strict=False) for axis in zip(*tensor, strict=False) if len(axis) > 2
    )


@contextmanager
def _interruptible(cfg: Any) -> Iterator[None]:
    """Say after Ctrl-C how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        stopped = Interrupted("stopped; what was computed is stored", fix=f"to go on: {cache_command(cfg)}")
        raise (stopped if is_main_process() else ToldElsewhereError(str(stopped))) from None
