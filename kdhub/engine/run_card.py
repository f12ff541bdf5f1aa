"""`RunCard`: the file ``run.json`` of a work_dir, which says what was run, where, and what came out."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from kdhub.engine.atomic import write_json
from kdhub.errors import UsageError

FILE_NAME = "run.json"


class RunCard:
    """Facts about one experiment, kept on disk; only the main process writes it.

    Args:
        work_dir: Folder of the experiment.
        content: Facts so far; none for a new experiment.

    Attributes:
        content: ``status`` (running, finished, interrupted, failed), ``experiment`` (part of the config to fingerprint),
            ``sessions`` (one for each start), ``seed``, ``versions``, ``machine``, ``teachers``, ``data``, ``models``,
            ``baselines``, ``evaluations``, ``student`` and each plugin's own lines under ``plugins``.
    """

    def __init__(self, work_dir: Path, content: dict[str, Any] | None = None) -> None:
        self.path = work_dir / FILE_NAME
        self.content: dict[str, Any] = content if content is not None else {}

    @classmethod
    def read(cls, work_dir: Path) -> RunCard | None:
        """Read the card of a work_dir; ``None`` if it has none.

        Raises:
            UsageError: If the file cannot be read.
        """
        path = work_dir / FILE_NAME
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(
                "the run card cannot be read", where=str(path), got=str(error), fix="move it away"
            ) from error
        if not isinstance(content, dict):
            raise UsageError("the run card is not an object", where=str(path), fix="move it away")
        return cls(work_dir, content)

    def write(self) -> None:
        """Write the card atomically."""
        self.content["updated"] = now()
        write_json(self.path, self.content)

    @property
    def last_metrics(self) -> dict[str, Any]:
        """Metrics of the last evaluation; empty before the first."""
        evaluations = self.content.get("evaluations") or [{}]
        return dict(evaluations[-1].get("metrics", {}))


def now() -> str:
    """Return the time in UTC, to the second."""
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
