"""Weights and data that a config names and that are not there: training would notice once the models are built, or later."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kdhub.config.findings import Report
from kdhub.config.places import Place
from kdhub.errors import near_matches

_WEIGHTS = (".pth", ".pt", ".safetensors", ".ckpt", ".bin")
"""What ends otherwise may be a name that a library knows, such as a model of a hub."""


def warn_of_missing_files(value: Mapping[str, Any], path: str, place: Place, report: Report) -> None:
    """Warn of a teacher's checkpoint or the folder of a data set; the run may be meant for another machine.

    Args:
        value: A dict of the config.
        path: Its key path.
        place: Where it stands.
        report: Where findings go.
    """
    if "teacher" in place.kinds:
        warn_of_missing_weights(value.get("checkpoint"), f"{path}.checkpoint", report)
    if "DATASETS" in place.roots:
        folder = value.get("data_root")
        if isinstance(folder, str) and folder and "://" not in folder:
            _warn("data folder", folder, f"{path}.data_root", report)


def warn_of_missing_weights(file: Any, path: str, report: Report) -> None:
    """Warn if a file of weights is not there; addresses and names of models are left alone."""
    if isinstance(file, str) and file.endswith(_WEIGHTS) and "://" not in file:
        _warn("checkpoint", file, path, report)


def _warn(what: str, text: str, path: str, report: Report) -> None:
    file = Path(text).expanduser()
    there: list[str] = []
    with suppress(OSError):  # a folder that nobody may look into, or a name too long for a file
        if file.exists():
            return
        there = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
    near = [str(file.with_name(name)) for name in near_matches(file.name, there)]
    report.warn(path, f"no such {what}", got=text if file.is_absolute() else f"{text}, from {Path.cwd()}", near=near)
