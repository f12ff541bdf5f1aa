"""Look at the installation: the stack, devices, plugins, and what plugins need besides Python packages.

Exit code 1 if anything fails.

Examples:
  kdhub doctor
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from kdhub.cli.output import print_json, print_table
from kdhub.cli.parser import add_json
from kdhub.plugins import Switches, load_plugins


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_json(parser)


def run(args: argparse.Namespace, switches: Switches) -> int:
    """Look."""
    diagnostics = load_plugins(switches).doctor()
    if args.json:
        print_json([asdict(diagnostic) for diagnostic in diagnostics])
    else:
        print_table(
            ("", "WHAT", "FOUND", "FIX"),
            [(d.level, d.title, d.detail, d.fix) for d in diagnostics],
            {"ok": "green", "warn": "yellow", "fail": "red"},
        )
    return 1 if any(diagnostic.level == "fail" for diagnostic in diagnostics) else 0
