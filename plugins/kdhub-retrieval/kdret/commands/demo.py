"""``kdhub demo``: distil all-MiniLM-L6-v2 into 2 layers on the docstrings of this machine, in minutes on 2 cores."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from kdhub.api import Parser

if TYPE_CHECKING:
    from kdret.demo import Row


TEXT = """Distil all-MiniLM-L6-v2 into 2 layers on the docstrings of this machine, in minutes on 2 cores.

Makes a corpus of what is installed, trains the student twice, on pairs of texts alone and taught by the teacher, and compares
teacher and students on modules that were not trained on. The teacher comes with the package; nothing is downloaded.

Examples:
  kdhub demo
  kdhub demo --work-dir runs/demo --cfg-options train_cfg.max_epochs=1
  kdhub search work_dirs/demo "read a csv file"      ask the student afterwards"""


def main(argv: list[str]) -> int:
    """Run the demo; return the exit code."""
    parser = Parser("demo", TEXT)
    parser.add_argument("--work-dir", default="work_dirs/demo", help="folder of the run (default work_dirs/demo)")
    parser.add_argument("--data", default="data/docstrings", help="folder of the corpus (default data/docstrings)")
    parser.add_argument("--rebuild", action="store_true", help="make the corpus anew from what is installed now")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (default 0)")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="override keys of the config")
    options = parser.parse(argv)
    started = time.monotonic()
    # the teacher lies in a package, and without a route to the hub each question there takes its time-out
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print("kdhub demo: loading torch and sentence-transformers ...", file=sys.stderr)

    from kdhub.api import duration, say
    from kdret import demo

    demo.require_teacher()
    say(f"corpus: the docstrings of this Python and its packages, in {options.data}")
    counts = demo.prepare(options.data, options.rebuild)
    if counts:
        say("corpus made: " + ", ".join(f"{count} {split}" for split, count in counts.items()))
    result = demo.run(options.work_dir, options.data, seed=options.seed, options=tuple(options.cfg_options))
    _print_table(demo.table(result.work_dir))
    student = result.student_path
    print(f"\nstudent  {_short(student)}   sentence_transformers.SentenceTransformer({str(_short(student))!r})")
    print(f"report   {_short(result.report_path)}")
    print(f"took     {duration(time.monotonic() - started)}")
    print(f'\nnext:    {_program()} search {shlex.quote(str(_short(result.work_dir)))} "read a csv file"')
    return 0


def _print_table(rows: list[Row]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    names = [name for name in rows[0].metrics if name not in ("documents_per_second", "query_ms")]
    table = Table(box=SIMPLE_HEAD, title="docstrings of modules that were not trained on (split `test`)")
    table.add_column()
    for name in (*names, "parameters", "documents/s"):
        table.add_column(name, justify="right")
    for row in rows:
        values = [f"{row.metrics[name]:.3f}" for name in names]
        speed = f"{row.metrics['documents_per_second']:.0f}"
        last = row is rows[-1]
        table.add_row(row.name, *values, f"{row.parameters / 1e6:.1f} M", speed, style="bold" if last else "")
    Console().print(table)


def _short(path: Path | None) -> Path | None:
    return Path(os.path.relpath(path)) if path is not None else None


def _program() -> str:
    """Return ``kdhub`` as it can be typed here: with its folder, if that is not on the path, as under ``make``."""
    program = Path(sys.argv[0])
    on_path = any(Path(folder) == program.parent for folder in os.environ.get("PATH", "").split(os.pathsep))
    return "kdhub" if on_path or program.name != "kdhub" else str(_short(program))
