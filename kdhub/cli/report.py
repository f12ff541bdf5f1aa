"""Write report.html of a run again, or lay several runs side by side in one page.

Runs whose configs differ only by seeds are one column, with a 95 % interval. The page needs no other file.

Examples:
  kdhub report work_dirs/my_config
  kdhub report work_dirs/alone-0 work_dirs/alone-1 work_dirs/kd-0 work_dirs/kd-1 --out alone-or-kd.html
  kdhub report work_dirs/alone work_dirs/kd --json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from kdhub.cli.output import print_json
from kdhub.cli.parser import add_json
from kdhub.errors import UsageError
from kdhub.plugins import Switches


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("work_dirs", metavar="WORK_DIR", nargs="+", help="work folder of a run; several are compared")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="where the comparison of several runs goes; default: comparison.html, here; with --json none is written by default",
    )
    add_json(parser)


def run(args: argparse.Namespace, switches: Switches) -> int:
    """Write the report or the comparison."""
    folders = [Path(folder) for folder in args.work_dirs]
    if len(folders) == 1 and args.out is not None:
        raise UsageError(
            "the report of one run goes into its folder",
            where=f"--out {args.out}",
            fix="leave --out out, or name several runs",
        )
    from kdhub.engine.report.comparison import FILE_NAME, compared, write_comparison
    from kdhub.engine.report.grouping import read_groups
    from kdhub.engine.report.report import write_report

    if len(folders) == 1 and not args.json:
        print(write_report(folders[0]))
        return 0
    groups = read_groups(folders)
    if args.out is not None or not args.json:
        path = Path(args.out or FILE_NAME)
        write_comparison(groups, path)
    if args.json:
        print_json(compared(groups))
    else:
        print(path)
    return 0
