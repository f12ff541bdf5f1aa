"""Evaluate a checkpoint with the config's test data and metrics.

Examples:
  kdhub test configs/my_config.py work_dirs/my_config/epoch_1.pth
  kdhub test configs/my_config.py work_dirs/my_config/student/model.safetensors --json
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from kdhub.cli.configs import add_config, add_run, is_main_process, prepare_run, warn_of_plugins
from kdhub.cli.output import print_json, print_table
from kdhub.cli.parser import add_json
from kdhub.config.read.predecessors import located
from kdhub.errors import UsageError
from kdhub.plugins import Switches


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config(parser)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint of a run, or weights of the student")
    add_run(parser)
    parser.add_argument("--out", metavar="FILE", help="write the metrics to a JSON file too")
    add_json(parser)


def run(args: argparse.Namespace, switches: Switches) -> int:
    """Evaluate."""
    from kdhub.config import load_config
    from kdhub.registry import init

    manager = init(switches)
    warn_of_plugins(manager)
    cfg = load_config(args.config, args.cfg_options, manager=manager)
    prepare_run(cfg, args)
    cfg = located(cfg)
    from kdhub.engine.test import test

    metrics = test(cfg, args.checkpoint, launcher=args.launcher)
    if is_main_process():
        if args.out is not None:
            _write(Path(args.out), metrics)
        if args.json:
            print_json(metrics)
        else:
            print_table(("METRIC", "VALUE"), [(name, _text(value)) for name, value in metrics.items()])
    return 0


def _write(path: Path, metrics: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write the metrics: {error.strerror}", where=f"--out {path}") from error


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
