"""The folder of a run: guarded against mixing two experiments, and searched for where to go on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kdhub.engine.identity import differences
from kdhub.engine.integrity import LEDGER, read_ledger, require_healthy
from kdhub.engine.run_card import FILE_NAME, RunCard
from kdhub.errors import UsageError, near_matches
from kdhub.files import storage_error
from kdhub.sealed import DamagedFileError

POINTER = "last_checkpoint"
"""File that names the newest checkpoint, as in mmengine."""


_SET_ASIDE = "run.damaged.json"


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
        experiment: What `kdhub.engine.identity.experiment` says about the config.
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
        return [f"resuming although the config has changed in {', '.join(changed)}"]
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
    pointed = _pointed(work_dir)
    ledger, warnings = read_ledger(pointed.parent if pointed is not None else work_dir)
    candidates = ledger.resumable()
    if pointed is not None and pointed.name not in ledger.entries:
        candidates.insert(0, pointed)
    if not candidates:
        raise UsageError(
            "there is nothing to resume", where=str(work_dir), expected="a checkpoint", fix="start without --resume"
        )
    if pointed is None and (work_dir / POINTER).is_file():
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


def latest_checkpoint(work_dir: Path) -> Path | None:
    """Return the newest checkpoint of a folder, healthy or not, also after the folder was moved; ``None`` if there is none."""
    pointed = _pointed(work_dir)
    ledger, _ = read_ledger(pointed.parent if pointed is not None else work_dir)
    if pointed is not None and pointed.name not in ledger.entries:
        return pointed
    return next(iter(ledger.resumable()), None)


def _pointed(work_dir: Path) -> Path | None:
    """Return the checkpoint that the pointer names, in this folder rather than in one that it was copied from."""
    try:
        name = (work_dir / POINTER).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    named = Path(name)
    return next((path for path in (work_dir / named.name, named) if name and path.is_file()), None)


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
