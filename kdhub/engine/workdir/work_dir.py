"""The folder of a run: guarded against mixing two experiments, and searched for where to go on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from kdhub.engine.workdir.identity import differences
from kdhub.engine.workdir.integrity import LEDGER, Ledger, read_ledger, require_healthy
from kdhub.engine.workdir.run_card import FILE_NAME, RunCard
from kdhub.errors import UsageError, near_matches
from kdhub.files import PARTIAL, discard, storage_error
from kdhub.sealed import DamagedFileError

POINTER = "last_checkpoint"
"""File that names the newest checkpoint, as in mmengine."""


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
    if not any((work_dir / name).is_file() for name in (POINTER, LEDGER)):
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


def checkpoint_to_resume(work_dir: Path, resume: bool | str | Path) -> tuple[Path, list[str]]:
    """Find the checkpoint to go on from: the newest that is as it was written.

    Args:
        work_dir: Folder of the run.
        resume: ``True`` for the newest healthy checkpoint of ``work_dir``, or the path of one.

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
        return chosen, require_healthy(chosen)
    candidates, ledger, warnings = _candidates(work_dir)
    if not candidates:
        raise _nothing_to_resume(work_dir)
    if (work_dir / POINTER).is_file() and _pointed(work_dir) is None:
        warnings.append(f"{POINTER} names no checkpoint of {work_dir}; going by {LEDGER}")
    faults: list[tuple[Path, str]] = []
    for candidate in candidates:
        fault = ledger.fault(candidate)
        if fault is None:
            told = [f"{path.name} is damaged ({why}); using {candidate.name} instead" for path, why in faults]
            return candidate, warnings + told
        faults.append((candidate, fault))
    raise UsageError(
        "every checkpoint to go on from is damaged",
        where=str(work_dir),
        got="; ".join(f"{path.name}: {why}" for path, why in faults),
        fix="restore one from a copy and name it: --resume PATH; or start anew without --resume",
    )


def _nothing_to_resume(work_dir: Path) -> UsageError:
    left = _by_name(work_dir, before=None)
    if not left:
        return UsageError(
            "there is nothing to resume", where=str(work_dir), expected="a checkpoint", fix="start without --resume"
        )
    others = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return UsageError(
        "there is nothing to resume that the last run of this work_dir saved",
        where=str(work_dir),
        got=f"checkpoints of a former one: {', '.join(path.name for path in left[:_NAMED])}{others}",
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
    """Return the newest checkpoint of a folder, healthy or not, also after the folder was moved; ``None`` if there is none."""
    return next(iter(_candidates(work_dir)[0]), None)


def _candidates(work_dir: Path) -> tuple[list[Path], Ledger, list[str]]:
    """Return the checkpoints that a run may go on from, the best first, with the ledger of their folder and warnings.

    A ledger that can be read knows all: what it lacks was left behind by a run that started over. Without one (mmengine writes
    none) the pointer says which is the newest, and the names tell which came before it.
    """
    pointed = _pointed(work_dir)
    folder = work_dir if pointed is None else pointed.parent
    ledger, warnings = read_ledger(folder)
    listed = ledger.resumable()
    if pointed is not None and folder != work_dir:
        # the run began with a checkpoint of another one, which may have gone on since
        listed = listed[listed.index(pointed) :] if pointed in listed else []
    known = listed or ([] if pointed is None else [pointed])
    if pointed is not None and pointed not in known:
        known.insert(0, pointed)
    if warnings or (pointed is not None and not (folder / LEDGER).is_file()):
        known += [path for path in _by_name(folder, before=pointed) if path not in known]
    return known, ledger, warnings


_NUMBERED = re.compile(r"(?:iter|epoch)_(\d+)\.pth")


def _by_name(folder: Path, before: Path | None) -> list[Path]:
    """Return the checkpoints of a folder that were saved at intervals, up to one of them, the newest first."""
    numbered = {path: int(match[1]) for path in folder.iterdir() if (match := _NUMBERED.fullmatch(path.name))}
    last = numbered.get(before) if before is not None else None
    chosen = (path for path, number in numbered.items() if last is None or number <= last)
    return sorted(chosen, key=lambda path: numbered[path], reverse=True)


def _pointed(work_dir: Path) -> Path | None:
    """Return the checkpoint that the pointer names, in this folder rather than in one that it was copied from."""
    try:
        name = (work_dir / POINTER).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    named = Path(name)
    own = work_dir / named.name
    ledger, damage = read_ledger(work_dir)
    if own.name in ledger.entries:  # in a copy whose own file is gone, the original's is another run's
        places = [own]
    elif (work_dir / LEDGER).is_file() and not damage:
        # a run went on here from another folder's checkpoint of that name
        places = [named, own]
    else:
        places = [own, named]
    return next((path for path in places if name and _is_file(path)), None)


def _is_file(path: Path) -> bool:
    """Whether there is such a file; a damaged pointer may hold what no file system takes for a name."""
    try:
        return path.is_file()
    except OSError:
        return False


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
