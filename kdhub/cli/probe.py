"""Show what can be tapped: run one batch and print each module's path, class, calls and output.

The objectives of the config and the weights of its teachers are left out, so it answers before you know a single path and
before a teacher is trained. Modules that do not run are left out too, unless --all; methods are shown if they returned
tensors. A path with several calls needs call=... in its tap.

Examples:
  kdhub probe configs/my_config.py
  kdhub probe configs/my_config.py --side student --pattern 'decode_head*'
  kdhub probe configs/my_config.py --pattern '*attention' --json
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from kdhub.cli.configs import add_config, warn_of_plugins
from kdhub.cli.output import print_json, print_table
from kdhub.cli.parser import add_json
from kdhub.config.read.predecessors import located
from kdhub.errors import UsageError, near_matches
from kdhub.plugins import Switches

if TYPE_CHECKING:
    from kdhub.distill.outline import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config(parser)
    parser.add_argument(
        "--pattern", default="*", metavar="GLOB", help="only paths that match as file names do; * also matches dots"
    )
    parser.add_argument("--side", choices=("student", "teacher"), help="only the student, or only the teachers")
    parser.add_argument("--all", action="store_true", help="also modules that do not run")
    add_json(parser)


def run(args: argparse.Namespace, switches: Switches) -> int:
    """Probe."""
    from kdhub.config import load_config
    from kdhub.registry import init

    manager = init(switches)
    warn_of_plugins(manager)
    cfg = located(load_config(args.config, args.cfg_options, manager=manager))
    from kdhub.cli.one_batch import outlines  # here: a mistake in the config must not wait for torch

    found = outlines(cfg, manager, args.side)
    shown = {model: _filtered(rows, args.pattern, args.all) for model, rows in found.items()}
    if not any(shown.values()):
        paths = [row.path for rows in found.values() for row in rows]
        raise UsageError(
            f"no module that runs matches {args.pattern!r}",
            near=near_matches(args.pattern.strip("*"), paths),
            fix="leave --pattern out to see all, or add --all for modules that do not run",
        )
    if args.json:
        print_json({model: [asdict(row) for row in rows] for model, rows in shown.items()})
    else:
        _print(shown)
    return 0


def _filtered(rows: Sequence[Row], pattern: str, all_: bool) -> list[Row]:
    return [row for row in rows if fnmatchcase(row.path, pattern) and (all_ or row.calls)]


def _print(shown: Mapping[str, Sequence[Row]]) -> None:
    for model, rows in shown.items():
        print(f"{model}:")
        print_table(
            ("PATH", "CLASS", "CALLS", "OUTPUT"),
            [(row.path or "''", row.type, str(row.calls), " | ".join(row.outputs)) for row in rows],
        )
        print()
