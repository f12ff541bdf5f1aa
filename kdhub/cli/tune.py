r"""Search loss weights, temperatures, schedules and learning rates for the best validation metric.

Each trial is a training run of its own below the study's folder. The same command continues a study, also after Ctrl-C, and
several processes may work at one: start the command again in another terminal, with another --seed. Test data are never read.

Examples:
  kdhub tune configs/my_config.py --metric accuracy/top1 --trials 30 \
      --space model.objectives.logits.weight=0.1:10:log optim_wrapper.optimizer.lr=1e-4:1e-1:log
  kdhub tune configs/my_config.py --metric mIoU --space model.objectives.logits.loss.temperature=1,2,4 --json
"""

from __future__ import annotations

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

from kdhub.cli.configs import add_config, print_findings, warn_of_plugins
from kdhub.cli.output import print_json, print_table
from kdhub.cli.parser import add_json
from kdhub.config.read.predecessors import default_work_dir
from kdhub.errors import UsageError
from kdhub.plugins import Switches


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_config(parser)
    parser.add_argument(
        "--space",
        nargs="+",
        action="extend",
        required=True,
        metavar="KEY=RANGE",
        help="what to try: KEY=LOW:HIGH, KEY=LOW:HIGH:log or KEY=A,B,C; two whole bounds mean whole numbers",
    )
    parser.add_argument(
        "--trials", type=int, default=20, help="finished trials that the study shall have in all; default: 20"
    )
    parser.add_argument(
        "--metric", help="metric as in run.json; default: what default_hooks.checkpoint.save_best names"
    )
    parser.add_argument(
        "--direction", choices=("maximize", "minimize"), help="default: what the config's save_best and its rule say"
    )
    parser.add_argument("--seed", type=int, help="makes the proposed values repeatable; another one for each process")
    parser.add_argument("--work-dir", help="folder of the study; default: work_dirs/<config's name>-tune")
    parser.add_argument(
        "--validate-on-test", action="store_true", help="accept a config whose validation data are its test data"
    )
    add_json(parser)


def run(args: argparse.Namespace, switches: Switches) -> int:
    """Tune, then print what came out; also after Ctrl-C."""
    from kdhub.engine.tune.space import WHERE, parse_space

    space = parse_space(args.space)
    if args.trials < 1:
        raise UsageError("a study has at least one trial", where="--trials", got=str(args.trials))
    if args.seed is not None and args.seed < 0:
        raise UsageError("a seed is not negative", where="--seed", got=str(args.seed))
    from kdhub.config import load_config
    from kdhub.config.read.options import WHERE as OVERRIDES
    from kdhub.engine.libraries import import_library
    from kdhub.registry import init

    manager = init(switches)
    warn_of_plugins(manager)
    try:
        load_config(args.config, [*args.cfg_options, *(f"{one.path}={one.first}" for one in space)], manager=manager)
    except UsageError as error:
        paths = {f"{OVERRIDES} {one.path}": f"{WHERE} {one.path}" for one in space}
        raise (error.at(paths[error.where]) if error.where in paths else error) from error
    cfg = load_config(args.config, args.cfg_options, manager=manager)
    import_library(cfg)
    from kdhub.engine.hooks.interrupt import Interrupted
    from kdhub.engine.tune.fitness import objective, require_own_validation
    from kdhub.engine.tune.study import Goal, tune

    metric, direction = objective(cfg, args.metric, args.direction)
    if not args.validate_on_test:
        require_own_validation(cfg)
    cfg.work_dir = args.work_dir or f"{default_work_dir(cfg)}-tune"
    goal = Goal(metric, direction, space, args.trials, args.seed)
    try:
        tune(cfg, goal, partial(_check, manager=manager))
    except (Interrupted, KeyboardInterrupt) as error:
        _tell(cfg, goal, args, switches)
        raise Interrupted(
            "stopped; the study is kept", fix=f"to go on: {shlex.join(['kdhub', *args.words])}"
        ) from error
    _tell(cfg, goal, args, switches)
    return 0


def _check(cfg: Any, manager: Any) -> None:
    """Check the config of a trial."""
    from kdhub.config import check_config

    report = check_config(cfg, manager, deep=True)
    if not report.ok:
        print_findings(report.findings, sys.stderr)
        raise UsageError("the config of a trial is wrong, see above", fix="mend the config or the space")


def _tell(cfg: Any, goal: Any, args: argparse.Namespace, switches: Switches) -> None:
    from kdhub.engine.tune.outcome import best_trial, draw, rows, told
    from kdhub.engine.tune.study import finished, open_study, options_of

    folder = Path(cfg.work_dir).absolute()
    study = open_study(folder, goal.direction)
    picture, best = draw(study, goal, folder), best_trial(study)
    if args.json:
        print_json(told(study, goal, folder))
        return
    print_table(("TRIAL", *(one.path for one in goal.space), goal.metric), rows(study, goal))
    if best is not None:
        overrides = [*args.cfg_options, *options_of(goal.space, best.params)]
        print(f"\npicture: {picture}")
        print(
            f"best:    {shlex.join(['kdhub', 'train', args.config, *switches.arguments(), '--cfg-options', *overrides])}"
        )
        print(
            f"The best of {len(finished(study))} trials looks better on validation data than it is: measure it on test data, once."
        )
