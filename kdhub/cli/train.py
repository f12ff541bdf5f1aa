"""Train from a config or a plugin's recipe, after checking it whole.

Examples:
  kdhub train configs/my_config.py
  kdhub train configs/my_config.py --work-dir runs/a --cfg-options train_cfg.max_epochs=1
  kdhub train configs/my_config.py --resume                  go on from the last checkpoint in the work folder
  kdhub train configs/two_stages.py --cfg-options teacher:train_cfg.max_epochs=1      override in a predecessor
  kdhub train configs/my_config.py --alone                   also train the student without its teachers, to compare
  torchrun --nproc-per-node 2 -m kdhub train configs/my_config.py --launcher pytorch
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from kdhub.cli.configs import add_config, add_run, is_main_process, prepare_run, print_findings, typed, warn_of_plugins
from kdhub.cli.output import print_table
from kdhub.plugins import Switches


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config(parser)
    add_run(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        default=False,
        metavar="PATH",
        help="go on from PATH, or from the last checkpoint in the work folder",
    )
    parser.add_argument(
        "--alone",
        action="store_true",
        help="first train the student without its teachers, in WORK_DIR/alone; the report then shows what distillation gained",
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision: bfloat16 on the CPU")
    parser.add_argument("--skip-check", action="store_true", help="train although `kdhub check` finds errors")


def run(args: argparse.Namespace, switches: Switches) -> int:
    """Check, then train."""
    from kdhub.config import check_config, load_config
    from kdhub.engine.libraries import import_library
    from kdhub.registry import init

    manager = init(switches)
    warn_of_plugins(manager)
    cfg = load_config(args.config, args.cfg_options, manager=manager)
    import_library(cfg)
    if not args.skip_check:
        report = check_config(cfg, manager, deep=True)
        if is_main_process():
            print_findings(report.findings, sys.stderr)
        if not report.ok:
            if is_main_process():
                print(f"kdhub: not training ({args.config}); --skip-check trains nevertheless", file=sys.stderr)
            return 2
    prepare_run(cfg, args)
    if args.alone:
        from kdhub.engine.alone import train_with_alone as train
    else:
        from kdhub.engine.train import train

    from kdhub.engine.report.commands import as_typed

    with as_typed(typed("train", args.config, args, switches)):
        result = train(cfg, resume=args.resume, amp=args.amp, launcher=args.launcher)
    if is_main_process():
        if result.alone:
            print_table(("METRIC", "ALONE", "DISTILLED", "GAINED"), _rows(result.alone, result.metrics))
        if result.student_path is not None:
            print(f"student: {result.student_path}")
        if result.report_path is not None:
            print(f"report:  {result.report_path}")
    return 0


def _rows(alone: Mapping[str, Any], distilled: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, value in distilled.items():
        both = (alone.get(name), value)
        if all(isinstance(one, int | float) for one in both):
            yield name, *(f"{one:.4g}" for one in both), f"{both[1] - both[0]:+.4g}"
