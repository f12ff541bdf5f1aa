"""The folder of a run: made, guarded against mixing two experiments, and searched for where to go on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kdhub.engine.atomic import storage_error
from kdhub.engine.identity import differences
from kdhub.engine.run_card import RunCard
from kdhub.errors import UsageError

POINTER = "last_checkpoint"
"""File that names the newest checkpoint, as in mmengine."""


def open_work_dir(work_dir: Path, experiment: Mapping[str, str], resume: bool | str | Path) -> list[str]:
    """Make the folder if need be, and refuse it if it holds another experiment's results.

    Args:
        work_dir: Folder of the run.
        experiment: What `kdhub.engine.identity.experiment` says about the config.
        resume: Whether training goes on from a checkpoint.

    Returns:
        Lines that tell what was decided.

    Raises:
        UsageError: If the folder cannot be used, or holds another experiment and ``resume`` was not asked for.
    """
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(work_dir, error) from error
    card = RunCard.read(work_dir)
    if not (work_dir / POINTER).is_file():
        return []
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


def checkpoint_to_resume(work_dir: Path, resume: bool | str | Path) -> Path:
    """Return the checkpoint to go on from.

    Args:
        work_dir: Folder of the run.
        resume: ``True`` for the newest checkpoint of ``work_dir``, or the path of one.

    Raises:
        UsageError: If there is none.
    """
    if not isinstance(resume, bool):
        return Path(resume)
    found = latest_checkpoint(work_dir)
    if found is None:
        raise UsageError(
            "there is nothing to resume", where=str(work_dir), expected="a checkpoint", fix="start without --resume"
        )
    return found


def latest_checkpoint(work_dir: Path) -> Path | None:
    """Return the newest checkpoint of a folder, also after the folder was moved; ``None`` if there is none."""
    pointer = work_dir / POINTER
    if not pointer.is_file():
        return None
    named = Path(pointer.read_text(encoding="utf-8").strip())
    return next((path for path in (named, work_dir / named.name) if path.is_file()), None)
