"""`write_report`: one self-contained HTML file that tells a run."""

from __future__ import annotations

import datetime as dt
import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from kdhub.engine.report.charts import chart
from kdhub.engine.report.commands import resume_command
from kdhub.engine.report.console import duration
from kdhub.engine.report.curves import metric_curves, read_curves
from kdhub.engine.report.page import NEXT, is_number, number, pictures, plugin_facts, rendered, text
from kdhub.engine.report.runs import card_to_report
from kdhub.engine.workdir.work_dir import latest_checkpoint
from kdhub.files import write_text

FILE_NAME = "report.html"
_CHARTS = 24
"""Curves shown at most; a metric for each of 150 classes is read in the table."""


def write_report(work_dir: Path) -> Path:
    """Write the report of a run from its card, its curves and its config.

    Args:
        work_dir: Folder of the run.

    Returns:
        The report: results, pictures, curves, facts and config, without any outside resource.

    Raises:
        UsageError: If the folder holds no run, or cannot be written.
    """
    run = card_to_report(work_dir)
    file = work_dir / "config.py"
    config = file.read_text(encoding="utf-8") if file.is_file() else ""
    page = rendered(
        "report.html.j2",
        run=run,
        work_dir=str(work_dir),
        columns=_columns(run),
        metrics=_metric_rows(run),
        alone=_alone(run),
        pictures=list(pictures(work_dir, run)),
        results=list(islice(_metric_charts(run), _CHARTS)),
        curves=list(islice(_training_charts(work_dir, run), _CHARTS)),
        facts=list(_facts(run)),
        plugins=plugin_facts(run),
        config=config,
        next_commands=list(_next_commands(work_dir, run, config)),
    )
    path = work_dir / FILE_NAME
    write_text(path, page)
    return path


def _alone(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the student reached without its teachers, if that was measured beside this very experiment."""
    alone = run.get("alone") or {}
    fits = alone.get("evaluations") and run.get("evaluations") and alone["compares_with"] == run.get("experiment")
    return alone if fits else {}


def _columns(run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the table's columns: each teacher, the student before, the student alone, the student after."""
    baselines, models, alone = run.get("baselines") or {}, run.get("models") or {}, _alone(run)
    columns = {}
    for name in models:
        if name != "student":
            label = "teacher" if name == "teacher" else f"teacher {name}"
            columns[label] = {"metrics": (baselines.get("teachers") or {}).get(name, {}), **models[name]}
    student = models.get("student", {})
    if baselines.get("student"):
        columns["student before"] = {"metrics": baselines["student"], **student}
    if alone:
        columns["alone"] = {"metrics": alone["evaluations"][-1]["metrics"], **student}
    if run.get("evaluations"):
        columns["distilled" if alone else "student after"] = {
            "metrics": run["evaluations"][-1]["metrics"],
            **student,
        }
    return columns


def _metric_rows(run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the table's rows; the last column is what distillation gained, or else the change since the start."""
    columns = _columns(run)
    names = dict.fromkeys(name for column in columns.values() for name in column["metrics"])
    first, last = ("alone", "distilled") if _alone(run) else ("student before", "student after")
    rows = {}
    for name in names:
        values = [column["metrics"].get(name) for column in columns.values()]
        one, other = (columns.get(column, {"metrics": {}})["metrics"].get(name) for column in (first, last))
        rows[name] = {"values": values, "change": other - one if is_number(one) and is_number(other) else None}
    return rows


def _metric_charts(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    teachers = (run.get("baselines") or {}).get("teachers") or {}
    alone = metric_curves({"baselines": run.get("baselines"), **_alone(run)}) if _alone(run) else {}
    for name, curve in metric_curves(run).items():
        references = {teacher: metrics[name] for teacher, metrics in teachers.items() if is_number(metrics.get(name))}
        yield name, chart(f"metric {name}", curve, references, {"alone": alone[name]} if name in alone else {})


def _training_charts(work_dir: Path, run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    curves = read_curves(work_dir, [session["log"] for session in run.get("sessions", [])])
    for name in sorted(curves, key=lambda name: ("loss" not in name, name != "loss")):
        yield name, chart(f"training {name}", curves[name])


def _facts(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "started" in run and "ended" in run:
        started, ended = (dt.datetime.fromisoformat(run[key]) for key in ("started", "ended"))
        yield "Time", f"{started:%Y-%m-%d %H:%M} UTC, {duration((ended - started).total_seconds())}"
    yield "Iterations", number(run.get("iterations"))
    yield "Seed", number(run.get("seed"))
    for name, fingerprint in (run.get("teachers") or {}).items():
        yield f"Teacher {name}" if name != "teacher" else "Teacher", fingerprint
    for name, data in (run.get("data") or {}).items():
        yield f"Data, {name}", ", ".join(f"{key} {number(value)}" for key, value in data.items())
    source = run.get("source")
    if source:
        yield "Source", source["commit"] + (" with local changes" if source["modified"] else "")
    yield "Versions", ", ".join(f"{name} {version}" for name, version in (run.get("versions") or {}).items())
    machine = run.get("machine") or {}
    yield "Machine", ", ".join(f"{key} {text(value)}" for key, value in machine.items())
    for session in run.get("sessions", []):
        start = session["from_iteration"]
        yield f"Resumed at {start}" if start else "Command", session["command"]


def _next_commands(work_dir: Path, run: Mapping[str, Any], config: str) -> Iterator[tuple[str, str]]:
    checkpoint = latest_checkpoint(work_dir)
    if run.get("status") != "finished":
        yield "go on with this run", resume_command(work_dir)
    elif checkpoint is not None and re.search("^test_dataloader", config, re.MULTILINE):
        yield (
            "evaluate the student on test data",
            shlex.join(["kdhub", "test", f"{work_dir}/config.py", str(checkpoint)]),
        )
    for lines in (run.get("plugins") or {}).values():
        yield from lines.get(NEXT, {}).items()
    yield "run it again elsewhere", shlex.join(["kdhub", "train", f"{work_dir}/config.py", "--work-dir", "ANOTHER"])
