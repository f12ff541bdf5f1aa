"""Weights and data that a config names and that are not there: training would notice once the models are built, or later."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kdhub.config.read.load import load_config
from kdhub.config.read.predecessors import default_work_dir, is_reference
from kdhub.config.types.places import Place
from kdhub.errors import KdhubError, near_matches
from kdhub.findings import Report
from kdhub.plugins import PluginManager

WEIGHTS = (".pth", ".pt", ".safetensors", ".ckpt", ".bin")
"""What ends otherwise may be a name that a library knows, such as a model of a hub."""


def warn_of_missing_files(
    value: Mapping[str, Any], path: str, place: Place, manager: PluginManager, report: Report
) -> None:
    """Warn of a teacher's checkpoint or the folder of a data set; the run may be meant for another machine.

    Args:
        value: A dict of the config.
        path: Its key path.
        place: Where it stands.
        manager: Knows the recipes, one of which may write what is missing.
        report: Where findings go.
    """
    if "teacher" in place.kinds:
        warn_of_missing_weights(value.get("checkpoint"), f"{path}.checkpoint", manager, report)
    if "DATASETS" in place.roots:
        folder = value.get("data_root")
        if isinstance(folder, str) and folder and "://" not in folder:
            _warn("data folder", folder, f"{path}.data_root", report)


def warn_of_missing_weights(file: Any, path: str, manager: PluginManager, report: Report) -> None:
    """Warn if a file of weights is not there; addresses and names of models are left alone."""
    if isinstance(file, str) and file.endswith(WEIGHTS) and "://" not in file:
        fix = None if _is_there(file) else how_to_train(Path(file).expanduser(), manager)
        _warn("checkpoint", file, path, report, fix=fix)


def how_to_train(file: Path, manager: PluginManager) -> str | None:
    """Return the command that would write a file: training the recipe in whose work_dir the file would be.

    Args:
        file: A file that is not there; a relative path counts from the current folder, as a recipe's work_dir does.
        manager: Knows the recipes.
    """
    for source, recipe in manager.recipes():
        name = f"{source.plugin}:{recipe.name}"
        with suppress(KdhubError):  # a recipe that cannot be read is reported where it is used
            cfg = load_config(name, manager=manager, custom_imports=False)
            if Path(default_work_dir(cfg)).expanduser().absolute() in file.absolute().parents:
                return f"train it first: kdhub train {name}"
    return None


def _is_there(text: str) -> bool:
    if is_reference(text):  # a predecessor will write it
        return True
    try:
        return Path(text).expanduser().exists()
    except OSError:  # a name too long for a file
        return False


def _warn(what: str, text: str, path: str, report: Report, fix: str | None = None) -> None:
    if _is_there(text):
        return
    file = Path(text).expanduser()
    there: list[str] = []
    with suppress(OSError):  # a folder that nobody may look into
        there = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
    near = tuple(str(file.with_name(name)) for name in near_matches(file.name, there))
    report.warn(
        path, f"no such {what}", got=text if file.is_absolute() else f"{text}, from {Path.cwd()}", near=near, fix=fix
    )
