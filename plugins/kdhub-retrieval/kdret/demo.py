"""The demo: from this machine's docstrings to a distilled sentence encoder, and the table that compares the two."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kdhub.api import RunCard, RunResult, UsageError, check_config, init, load_config, train_with_alone
from kdret.data import docstrings
from kdret.doctor import TEACHER_PACKAGE

RECIPE = "kdret:docstrings-minilm"
PREFIX = "retrieval/"


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        name: Whose line it is.
        metrics: Metric to value, without prefix; ``documents_per_second`` is one of them.
        parameters: Number of parameters.
    """

    name: str
    metrics: Mapping[str, float]
    parameters: int


def prepare(data: str | Path, rebuild: bool = False) -> Mapping[str, int] | None:
    """Make the docstring corpus if it is not there.

    Args:
        data: Folder of the corpus.
        rebuild: Make it anew in any case.

    Returns:
        Number of documents by split, or ``None`` if it was there.
    """
    if not rebuild and (Path(data) / "manifest.json").is_file():
        return None
    return docstrings.build(data)["documents"]


def run(work_dir: str | Path, data: str | Path, *, seed: int = 0, options: tuple[str, ...] = ()) -> RunResult:
    """Train the recipe: its student on the pairs without a teacher, then the distilled one.

    Args:
        work_dir: Folder of the run.
        data: Folder of the corpus.
        seed: Of everything random.
        options: Further overrides, as ``key.path=value``.

    Raises:
        UsageError: If the config as overridden does not pass the check.
    """
    config = load_config(RECIPE, options)
    for part in ("train_dataloader", "val_dataloader", "test_dataloader"):
        config[part].dataset.data_root = str(data)
    config.randomness = {"seed": seed}
    config.work_dir = str(work_dir)
    report = check_config(config, init())
    if not report.ok:
        raise UsageError("; ".join(finding.line() for finding in report.errors), where=RECIPE)
    return train_with_alone(config)


def table(work_dir: Path) -> list[Row]:
    """Read the comparison out of a finished run's card: teacher, student before, alone, distilled.

    Raises:
        UsageError: If the folder has no card, or the run ended before its evaluation.
    """
    card = RunCard.read(work_dir)
    content = card.content if card is not None else {}
    if "alone" not in content or "student" not in content.get("baselines", {}):
        raise UsageError("no finished run to tell of", where=str(work_dir), fix="run `kdhub demo`")
    sizes = {name: model["parameters"] for name, model in content["models"].items()}
    baselines = content["baselines"]
    rows = [Row(name, _plain(found), sizes[name]) for name, found in baselines["teachers"].items()]
    rows.append(Row("student before", _plain(baselines["student"]), sizes["student"]))
    for name, found in (("alone", content["alone"]), ("distilled", content)):
        rows.append(Row(name, _plain(found["evaluations"][-1]["metrics"]), sizes["student"]))
    return rows


def require_teacher() -> None:
    """See that the teacher's package is there before a corpus is built for it.

    Raises:
        UsageError: With the line that installs it.
    """
    from kdret.loading import model_folder

    model_folder(f"package://{TEACHER_PACKAGE}/model")


def _plain(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name.removeprefix(PREFIX): value for name, value in metrics.items()}
