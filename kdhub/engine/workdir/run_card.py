"""`RunCard`: the file ``run.json`` of a work_dir, which says what was run, where, and what came out."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from kdhub.errors import UsageError
from kdhub.sealed import read_sealed, write_sealed

FILE_NAME = "run.json"
PICTURES = {".png": "image/png", ".jpg": "image/jpeg"}
"""Media type of each kind of file that `RunCard.add_picture` takes."""


class RunCard:
    """Facts about one experiment, kept on disk; only the main process writes it.

    Args:
        work_dir: Folder of the experiment.
        content: Facts so far; none for a new experiment.

    Attributes:
        content: ``status`` (running, finished, interrupted, failed), ``experiment`` (part of the config to fingerprint),
            ``sessions`` (one for each start), ``seed``, ``versions``, ``machine``, ``teachers``, ``data``, ``models``,
            ``baselines``, ``evaluations``, ``alone`` (what the student reached without its teachers, see
            `kdhub.engine.alone`), ``pictures``, ``student`` and each plugin's own lines under ``plugins``.
    """

    def __init__(self, work_dir: Path, content: dict[str, Any] | None = None) -> None:
        self.path = work_dir / FILE_NAME
        self.content: dict[str, Any] = content if content is not None else {}

    @classmethod
    def read(cls, work_dir: Path) -> RunCard | None:
        """Read the card of a work_dir; ``None`` if it has none.

        Raises:
            DamagedFileError: If the file is not what was written.
        """
        path = work_dir / FILE_NAME
        return cls(work_dir, read_sealed(path)) if path.is_file() else None

    def write(self) -> None:
        """Write the card atomically."""
        self.content["updated"] = now()
        write_sealed(self.path, self.content)

    def add_picture(self, title: str, path: Path, caption: str = "") -> None:
        """Put a picture into the report; one that shows the same file is replaced. `write` is up to the caller.

        Args:
            title: What it shows, in a few words.
            path: PNG or JPEG file within the work_dir.
            caption: What to see in it, in a sentence.

        Raises:
            UsageError: If the file is outside of the work_dir, which may be moved, or is no PNG or JPEG.
        """
        folder = self.path.parent.resolve()
        file = path.resolve()
        if folder not in file.parents or file.suffix not in PICTURES:
            raise UsageError(
                "this file cannot be a picture of the report",
                where=str(path),
                expected=f"{' or '.join(PICTURES)} in {folder}",
            )
        picture = {"title": title, "path": file.relative_to(folder).as_posix(), "caption": caption}
        pictures = {one["path"]: one for one in self.content.get("pictures", [])}
        self.content["pictures"] = list({**pictures, picture["path"]: picture}.values())

    @property
    def last_metrics(self) -> dict[str, Any]:
        """Metrics of the last evaluation; empty before the first."""
        evaluations = self.content.get("evaluations") or [{}]
        return dict(evaluations[-1].get("metrics", {}))


def now() -> str:
    """Return the time in UTC, to the second."""
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
