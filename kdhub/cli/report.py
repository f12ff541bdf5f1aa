"""Write report.html of a run again from what the run left in its work folder.

Examples:
  kdhub report work_dirs/my_config
"""

from __future__ import annotations

import argparse
from pathlib import Path

from kdhub.errors import UsageError
from kdhub.plugins import Switches


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("work_dir", metavar="WORK_DIR", help="work folder of a run")


def run(args: argparse.Namespace, switches: Switches) -> int:
    """Write the report."""
    if not Path(args.work_dir).is_dir():
        raise UsageError(f"no folder {args.work_dir}", expected="the work folder of a run, with run.json in it")
    from kdhub.engine.report.report import write_report

    print(write_report(Path(args.work_dir)))
    return 0
