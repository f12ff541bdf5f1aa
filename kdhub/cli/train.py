"""Train from a config or a plugin's recipe, after checking it whole.

Examples:
  kdhub train configs/my_config.py
  kdhub train configs/my_config.py --work-dir runs/a --cfg-options train_cfg.max_epochs=1
  kdhub train configs/my_config.py --resume                  go on from the last checkpoint in the work folder
  torchrun --nproc-per-node 2 tools/train.py configs/my_config.py --launcher pytorch
"""

from __future__ import annotations

import argparse
import sys

from kdhub.cli.configs import add_config, add_run, is_main_process, prepare_run, print_findings, warn_of_plugins
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
    parser.add_argument("--amp", action="store_true", help="mixed precision: bfloat16 on the CPU")
    parser.add_argument("--skip-check", action="store_true", help="train although `kdhub check` finds errors")


def run(args: argparse.Namespace, switches: Switches) -> int:
    """Check, then train."""
    from kdhub.config import check_config, load_config
    from kdhub.config.load import run_custom_imports
    from kdhub.registry import init

    manager = init(switches)
    warn_of_plugins(manager)
    cfg = load_config(args.config, args.cfg_options, manager=manager, custom_imports=False)
    if not args.skip_check:
        report = check_config(cfg, manager)
        if is_main_process():
            print_findings(report.findings, sys.stderr)
        if not report.ok:
            if is_main_process():
                print(f"kdhub: not training ({args.config}); --skip-check trains nevertheless", file=sys.stderr)
            return 2
    run_custom_imports(cfg.get("custom_imports"))
    prepare_run(cfg, args)
    from kdhub.engine.train import train

    result = train(cfg, resume=args.resume, amp=args.amp, launcher=args.launcher)
    if is_main_process():
        if result.student_path is not None:
            print(f"student: {result.student_path}")
        print(f"report:  {result.report_path}")
    return 0
