"""The folder of a run: guarded against mixing two experiments, and searched for where to go on."""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from kdhub.checkpoint.intact import damage_of, require_intact
from kdhub.engine.workdir.identity import differences
from kdhub.engine.workdir.run_card import FILE_NAME, RunCard
from kdhub.errors import UsageError, near_matches
from kdhub.files import PARTIAL, discard, storage_error
from kdhub.sealed import DamagedFileError

POINTER = "last_checkpoint"
"""File that names the newest checkpoint, as in mmengine."""

INTERRUPTED = "interrupted.pth"
"""The checkpoint of a stopped run; the next one in the ordinary course replaces it."""

_SET_ASIDE = "run.damaged.json"
_NAMED = 3
"""How many checkpoints an error names."""


def make_work_dir(work_dir: Path) -> None:
    """Make the folder if need be.

    Raises:
        UsageError: If it cannot be made.
    """
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(work_dir, error) from error


def guard_work_dir(work_dir: Path, experiment: Mapping[str, str], resume: bool | str | Path) -> list[str]:
    """Refuse a folder that holds another experiment's results.

    Args:
        work_dir: Folder of the run.
        experiment: What `kdhub.engine.workdir.identity.experiment` says about the config.
        resume: Whether training goes on from a checkpoint.

    Returns:
        Lines that tell what was decided.

    Raises:
        UsageError: If the folder holds another experiment and ``resume`` was not asked for.
    """
    if not (work_dir / POINTER).is_file():
        return []
    try:
        card = RunCard.read(work_dir)
    except DamagedFileError as error:
        return [_without_card(work_dir, error, resume)]
    if card is None:
        if resume:
            return []
        raise UsageError(
            "the work_dir holds checkpoints that kdhub did not write",
            where=str(work_dir),
            fix="choose another --work-dir, or move that one away",
        )
    changed = differences(card.content.get("experiment", {}), experiment)
    if not changed:
        return (
            []
            if resume
            else [f"{work_dir} holds a run of this experiment; starting it over (--resume goes on instead)"]
        )
    if resume:
        return [f"resuming although the config has changed in {', '.join(changed)}{_still_in_force(changed)}"]
    raise UsageError(
        "the work_dir holds another experiment",
        where=str(work_dir),
        got=f"a config that differs in {', '.join(changed)}",
        fix="choose another --work-dir, or move that one away; --resume goes on from its checkpoint with this config",
    )


def require_same_experiment(work_dir: Path, experiment: Mapping[str, str]) -> None:
    """Refuse a folder that another config made, where its result would be taken for this one's.

    Args:
        work_dir: Folder of a run or a job.
        experiment: What `kdhub.engine.workdir.identity.experiment` says about the config.

    Raises:
        UsageError: Naming the parts that differ.
    """
    card = RunCard.read(work_dir)
    changed = () if card is None else differences(card.content.get("experiment", {}), experiment)
    if changed:
        raise UsageError(
            "the folder holds what another config made",
            got=f"{work_dir}, which differs in {', '.join(changed)}",
            fix="move that folder away to run it anew, or choose another --work-dir for the whole",
        )


def checkpoint_to_resume(work_dir: Path, resume: bool | str | Path) -> tuple[Path, list[str]]:
    """Find the checkpoint to go on from: the newest that is intact.

    Args:
        work_dir: Folder of the run.
        resume: ``True`` for the newest intact checkpoint of ``work_dir``, or the path of one.

    Returns:
        The checkpoint, and a line for each damaged file that was passed over.

    Raises:
        UsageError: If there is none, or the one that was named is damaged.
    """
    if not isinstance(resume, bool):
        chosen = Path(resume).absolute()
        if not chosen.is_file():
            raise UsageError(
                "no such checkpoint to resume",
                where=str(chosen),
                near=near_matches(chosen.name, (path.name for path in work_dir.glob("*.pth"))),
                fix=f"--resume alone goes on from the newest of {work_dir}",
            )
        require_intact(chosen)
        return chosen, []
    candidates = saved_checkpoints(work_dir)
    if not candidates:
        raise _nothing_to_resume(work_dir)
    damaged: dict[Path, str] = {}
    for candidate in candidates:
        damage = damage_of(candidate)
        if damage is None:
            named = _pointed(work_dir)
            lines = (
                [] if named in candidates else [f"{POINTER} names no checkpoint of {work_dir}; going by their names"]
            )
            lines += [
                f"{path.name} is damaged ({why}); using {candidate.name} instead" for path, why in damaged.items()
            ]
            return candidate, lines
        damaged[candidate] = damage
    raise UsageError(
        "every checkpoint to go on from is damaged",
        where=str(work_dir),
        got="; ".join(f"{path.name}: {why}" for path, why in damaged.items()),
        fix="restore one from a copy and name it: --resume PATH; or start anew without --resume",
    )


def _nothing_to_resume(work_dir: Path) -> UsageError:
    left = _numbered(work_dir)
    if not left:
        return UsageError(
            "there is nothing to resume", where=str(work_dir), expected="a checkpoint", fix="start without --resume"
        )
    others = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return UsageError(
        "there is nothing to resume that the last run of this work_dir recorded",
        where=str(work_dir),
        got=f"checkpoints that may be a former one's: {', '.join(path.name for path in left[:_NAMED])}{others}",
        fix=f"to go on from one of them: --resume {shlex.quote(str(left[0]))}; a start without --resume writes over them",
    )


def _still_in_force(changed: Iterable[str]) -> str:
    """Say what a change does not do: an optimizer and its schedulers are loaded with their settings."""
    if not {"optim_wrapper", "param_scheduler"} & set(changed):
        return ""
    return "; learning rates, other settings of the optimizer and schedules stay those that the checkpoint holds"


def remove_partial(work_dir: Path) -> None:
    """Remove what killed runs left half written; for whoever holds the folder's lock."""
    for path in work_dir.glob(PARTIAL.format(name="*")):
        discard(path)


def latest_checkpoint(work_dir: Path) -> Path | None:
    """Return the newest checkpoint of a folder, intact or not, also after the folder was moved; ``None`` if there is none."""
    return next(iter(saved_checkpoints(work_dir)), None)


def saved_checkpoints(work_dir: Path) -> list[Path]:
    """Return the checkpoints that a run may go on from, the newest first: what the pointer names, and those saved before it.

    Without a pointer there are none: a run that starts over takes it away, and what lies there is a former run's.
    """
    pointed = _pointed(work_dir)
    if pointed is None:
        return []
    return [*([pointed] if os.path.isfile(pointed) else []), *_numbered(pointed.parent, before=pointed.name)]


_NUMBERED = re.compile(r"(.*?)(\d+)\.pth")
_USUAL = ("iter_", "epoch_")


def _numbered(folder: Path, before: str = "") -> list[Path]:
    """Return the checkpoints of a folder that runs saved, the newest first; of its own kind those before one, if it is named."""
    named = _NUMBERED.fullmatch(before)
    kinds, bound = ((named[1],), int(named[2])) if named else (_USUAL, math.inf)
    numbers = {path: int(match[2]) for path in folder.glob("*.pth") if (match := _NUMBERED.fullmatch(path.name))}
    found = [path for path, one in numbers.items() if one < bound and path.name.startswith(kinds)]
    stopped = [] if named or before == INTERRUPTED else [folder / INTERRUPTED]
    return [*filter(os.path.isfile, stopped), *sorted(found, key=numbers.__getitem__, reverse=True)]


def _pointed(work_dir: Path) -> Path | None:
    """Return what the pointer names, be it there or not, in this folder rather than in one that it was copied from."""
    try:
        named = Path((work_dir / POINTER).read_text(encoding="utf-8", errors="replace").strip())
    except OSError:
        return None
    own = work_dir / (named.name or "nothing")  # an empty pointer, as a power cut may leave
    try:
        card = RunCard.read(work_dir)
    except UsageError:
        card = None
    home = card and card.content.get("work_dir")
    if home == str(named.parent):
        return own  # also in a copy whose own file is gone: the original's is another run's
    # a run that began with another folder's checkpoint may find a former one of that name in its own
    places = (named, own) if home else (own, named)
    return next(filter(os.path.isfile, places), own)


def _without_card(work_dir: Path, error: DamagedFileError, resume: bool | str | Path) -> str:
    """Go on without a damaged run card, which is kept under another name."""
    if not resume:
        raise UsageError(
            f"{FILE_NAME} is damaged, so nobody can tell which experiment the work_dir holds",
            where=str(work_dir),
            got=error.got,
            fix="--resume goes on from its checkpoint; or choose another --work-dir",
        ) from error
    try:
        (work_dir / FILE_NAME).replace(work_dir / _SET_ASIDE)
    except OSError as failure:
        raise storage_error(work_dir / _SET_ASIDE, failure) from failure
    return f"{FILE_NAME} is damaged; it is now {_SET_ASIDE}, and the report begins anew from the checkpoint"
