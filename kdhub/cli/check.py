"""Check a config whole, before anything is built: all findings at once, each with its exact key path.

A config is a program: `check` runs the file and its bases, as every command does that takes a config. It looks up the types,
keys, loss inputs and teachers' names that come out, and what plugins add, without importing what the config names. Exit code 1
if there is an error. Read a config that you do not trust before you check it.

Examples:
  kdhub check configs/my_config.py
  kdhub check kdret:docstrings-minilm --cfg-options train_cfg.max_epochs=1
  kdhub check configs/my_config.py --deep      import what it names, and look it up where it will be built
"""

from __future__ import annotations

import argparse
import sys

from kdhub.cli.configs import add_config, print_findings, warn_of_plugins
from kdhub.cli.output import print_json
from kdhub.cli.parser import add_json
from kdhub.errors import UsageError
from kdhub.findings import Finding
from kdhub.plugins import Switches


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config(parser)
    parser.add_argument(
        "--deep",
        action="store_true",
        help="import what the config names: finds unknown types of mm libraries and torch, and broken imports; takes seconds",
    )
    add_json(parser)


def run(args: argparse.Namespace, switches: Switches) -> int:
    """Check."""
    from kdhub.config import check_config, load_config
    from kdhub.registry import init

    manager = init(switches)
    warn_of_plugins(manager)
    refused = None
    try:
        cfg = load_config(args.config, args.cfg_options, manager=manager, custom_imports=args.deep)
    except UsageError as error:
        if not args.cfg_options:
            raise
        # the config's own mistakes shall be told together with the wrong override
        refused = error
        cfg = load_config(args.config, manager=manager, custom_imports=args.deep)
    if args.deep:
        from kdhub.engine.libraries import import_library

        import_library(cfg)
    report = check_config(cfg, manager, deep=args.deep)
    if refused is not None:
        report.add(Finding.of(refused, refused.where or "--cfg-options"))
    if args.json:
        print_json({"config": args.config, "ok": report.ok, "findings": [f.as_json() for f in report.findings]})
    else:
        print_findings(report.findings, sys.stdout)
        errors, warnings = len(report.errors), len(report.warnings)
        print(f"{args.config}: {_count(errors, 'error')}, {_count(warnings, 'warning')}")
    return 0 if report.ok else 1


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
