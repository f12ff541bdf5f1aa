"""What the commands that take a config have in common."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from kdhub.config.read.predecessors import default_work_dir
from kdhub.errors import near_matches
from kdhub.plugins import PluginManager

if TYPE_CHECKING:
    from mmengine.config import Config

    from kdhub.config import Finding

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the config and its overrides."""
    parser.add_argument("config", metavar="CONFIG", help="config file, or SCOPE:RECIPE (see `kdhub list recipes`)")
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add the overrides of a config."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override keys of the config: model.objectives.NAME.weight=2 train_dataloader.batch_size=16; lists as [a,b]",
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add what training and testing share, under the names that mmengine's tools use."""
    parser.add_argument(
        "--work-dir", help="folder for logs, checkpoints and results; default: work_dirs/<config's name>"
    )
    parser.add_argument(
        "--launcher", choices=LAUNCHERS, default="none", help="how the processes of a distributed run were started"
    )
    # torchrun and torch.distributed.launch pass the one or the other
    parser.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)


def prepare_run(cfg: Config, args: argparse.Namespace) -> None:
    """Write work folder and launcher into the config, and the local rank where mmengine looks for it."""
    cfg.work_dir = args.work_dir or default_work_dir(cfg)
    cfg.launcher = args.launcher
    if args.local_rank is not None:
        os.environ.setdefault("LOCAL_RANK", str(args.local_rank))


def is_main_process() -> bool:
    """Whether this process speaks for a distributed run; it is asked before any process group exists."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0


def warn_of_plugins(manager: PluginManager) -> None:
    """Say on stderr which plugins are installed and cannot be used, and which switches name none."""
    warn_of_switches(manager)
    unusable = [f"{row.scope} ({row.status})" for row in manager.plugins if row.status not in ("ok", "disabled")]
    if unusable and is_main_process():
        print(f"kdhub: warning: not loaded: {', '.join(unusable)}; see `kdhub plugins list`", file=sys.stderr)


def warn_of_switches(manager: PluginManager) -> None:
    """Say on stderr which switches name no plugin: a misspelt ``KDHUB_PLUGINS`` would leave everything out."""
    installed = {row.scope for row in manager.plugins}
    for name in sorted({*(manager.switches.only or ()), *manager.switches.blocked} - installed):
        near = " or ".join(map(repr, near_matches(name, installed)))
        meant = f"; did you mean {near}?" if near else ""
        if is_main_process():
            print(f"kdhub: warning: a switch names the plugin {name!r}, which is not installed{meant}", file=sys.stderr)


def print_findings(findings: Iterable[Finding], file: TextIO) -> None:
    """Print one line a finding."""
    for finding in findings:
        print(finding.line(), file=file)
