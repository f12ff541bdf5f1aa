"""Opening the store of a run's teacher: one that does not fit the run is refused, with the difference named."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmengine.logging import print_log
from torch.utils.data import DataLoader

from kdhub.caching.data import TeacherData, require_keys
from kdhub.caching.source import TeacherSource, require_allowed, worst_difference
from kdhub.distill.teachers import Replay
from kdhub.engine.models import Distilling
from kdhub.engine.report.commands import cache_command
from kdhub.engine.resume.comparison import same
from kdhub.errors import UsageError
from kdhub.rng import preserved_randomness
from kdhub.store import Manifest
from kdhub.values import map_tensors, tensors_in

if TYPE_CHECKING:
    from kdhub.caching.stored import StoredTeacher


def open_store(
    stored: StoredTeacher, model: Distilling, name: str, cfg: Mapping[str, Any], loader: DataLoader[Any]
) -> Replay:
    """Open the store of a teacher, and see that it holds what the live teacher would answer.

    Args:
        stored: The teacher.
        model: The model that is trained.
        name: The teacher's name in it.
        cfg: The run's config.
        loader: Its training data, as mmengine builds them.

    Returns:
        What the training data must show.

    Raises:
        UsageError: If the store is missing or incomplete, or of another teacher, tap, data set, preprocessing or precision;
            or if the live teacher answers otherwise.
        DamagedStoreError: If it is damaged.
    """
    require_keys(loader)
    require_allowed(model, name, stored)
    manifest = stored.reader.manifest
    data = TeacherData.of(stored, cfg, loader.dataset)
    _require_fitting(model, name, stored, cfg, data)
    records, wanted = len(stored.reader), manifest.samples * manifest.draws
    if records < wanted:
        raise UsageError(
            "the teacher store is not complete",
            where=str(stored.store),
            expected=f"{wanted} records",
            got=str(records),
            fix=f"complete it: {cache_command(cfg)}",
        )
    if stored.live is None:
        print_log(
            f"warning: the weights of teacher {name!r} are not on this machine, so kdhub cannot check them against the store",
            "current",
        )
    else:
        with preserved_randomness():
            _verify(model, name, stored, data, loader)
        stored.release()
    print_log(
        f"teacher {name!r} answers from {stored.store} ({wanted} records): {stored.fingerprint()}", logger="current"
    )
    if data.mode == "unaugmented":
        return Replay(None, None)
    return Replay(manifest.seed, manifest.draws)


def _require_fitting(
    model: Distilling, name: str, stored: StoredTeacher, cfg: Mapping[str, Any], data: TeacherData
) -> None:
    manifest = stored.reader.manifest
    live = stored.live
    taps = tuple(dict.fromkeys(tap.identity for tap in model.taps_of(name)))
    student = live.batch == "student" if live is not None else ".student-" in manifest.preprocessing
    present = dataclasses.replace(
        manifest,
        teacher=stored.wanted_fingerprint(),
        taps=taps,
        mode=data.mode,
        draws=data.draws,
        samples=len(data),
        data=data.fingerprint(),
        preprocessing=data.preprocessing(cfg, model.student.data_preprocessor if student else None),
        precision=stored.precisions(taps, manifest.taps),
    )
    if shortcomings := present.shortcomings(manifest):
        raise UsageError(
            f"the store of teacher {name!r} does not fit this run",
            where=str(stored.store),
            got="; ".join(shortcomings),
            fix="name another folder in model.teacher.store, or delete this one if no other run needs it; then fill it:"
            f" {cache_command(cfg)}",
        )


def _verify(model: Distilling, name: str, stored: StoredTeacher, data: TeacherData, loader: DataLoader[Any]) -> None:
    """Compare random entries with what the live teacher answers now."""
    manifest: Manifest = stored.reader.manifest
    if not stored.verify or stored.live is None:
        return
    stored.live.to(stored.device)
    source = TeacherSource.of(model, name, stored.live, data, loader, manifest.seed or 0)
    places = random.Random().sample(range(manifest.samples * manifest.draws), min(stored.verify, manifest.samples))
    keys = [divmod(place, manifest.draws) for place in places]
    (answer,) = source.answers([keys])
    nodes, before = manifest.nodes(), stored.reader.read(keys, taps=answer.keys())
    for tap, value in answer.items():
        now = nodes[tap].join(nodes[tap].split(value, len(keys), tap), len(keys))
        error = _difference(before[tap], now, len(keys))
        if error > stored.max_error:
            raise UsageError(
                f"the live teacher {name!r} answers otherwise than its store",
                where=str(stored.store),
                expected=f"{tap} to differ by at most {stored.max_error:g} of what its samples differ by",
                got=f"{error:.2g} in samples {', '.join(str(index) for index, _ in keys)}",
                fix="see what has changed in the data or the libraries, delete the store and fill it again",
            )


def _difference(stored: Any, now: Any, size: int) -> float:
    if not same(map_tensors(_nothing, stored), map_tensors(_nothing, now)):
        return math.inf
    pairs = [(one.double(), other.double()) for one, other in zip(tensors_in(stored), tensors_in(now), strict=True)]
    columns = [(list(one), list(other)) for one, other in pairs if other.shape[:1] == (size,)]
    single = [pair for pair in pairs if pair[1].shape[:1] != (size,)]  # one sample's own token set
    if single:
        columns.append(([one for one, _ in single], [other for _, other in single]))
    return worst_difference([one for one, _ in columns], [other for _, other in columns])


def _nothing(_tensor: Any) -> Any:
    return None
