"""`RunCard`: the file ``run.json`` of a work_dir, which says what was run, where, and what came out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdhub.errors import UsageError
from kdhub.sealed import read_sealed, write_sealed

FILE_NAME = "run.json"
PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".svg": "image/svg+xml"}
"""Media type of each kind of file that `RunCard.add_picture` takes."""


class RunCard:
    """Facts about one experiment, kept on disk; only the main process writes it.

    Args:
        work_dir: Folder of the experiment.
        content: Facts so far; none for a new experiment.

    Attributes:
        content: ``status`` (running, finished, interrupted, failed), ``experiment`` (part of the config to fingerprint),
            ``sessions`` (one for each start), ``cost`` (most memory held, in bytes), ``seed``, ``versions``, ``machine``, ``teachers``, ``data``, ``models``,
            ``baselines``, ``evaluations``, ``alone`` (what the student reached without its teachers, see
            `kdhub.engine.alone`), ``pictures``, ``tables``, ``student`` and each plugin's own lines under ``plugins``.
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
            path: PNG, JPEG or SVG file within the work_dir. The page shows an SVG as an image, so it can neither run nor load
                anything; `kdhub.engine.report.charts.svg_figure` writes one that reads in light and in dark.
            caption: What to see in it, in a sentence.

        Raises:
            UsageError: If the file is outside of the work_dir, which may be moved, or is of another kind.
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

    def add_table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str | int | float]], caption: str = ""
    ) -> None:
        """Put a table into the report; one of the same title is replaced. `write` is up to the caller.

        Args:
            title: What it shows.
            columns: Headings.
            rows: Cells. Text is shown as it is, whatever it holds, and never read as HTML.
            caption: What to see in it.
        """
        cells = [[_unicode(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
        table = {"title": title, "columns": list(columns), "rows": cells, "caption": caption}
        tables = {one["title"]: one for one in self.content.get("tables", [])}
        self.content["tables"] = list({**tables, title: table}.values())

    @property
    def last_metrics(self) -> dict[str, Any]:
        """Metrics of the last evaluation; empty before the first."""
        evaluations = self.content.get("evaluations") or [{}]
        return dict(evaluations[-1].get("metrics", {}))


def _unicode(text: str) -> str:
    """Replace what no file in UTF-8 can hold, such as half of a pair of surrogates."""
    return text.encode("utf-8", "replace").decode()


def now() -> str:
    """Return the time in UTC, to the second."""
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
