"""Methods of several stages: what a config needs first is run first, in a folder of its own, and never twice."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from kdhub.config.read.load import run_custom_imports
from kdhub.config.read.predecessors import KEY, predecessors, specs, with_folders
from kdhub.engine.defaults import add_common_defaults, completed
from kdhub.engine.distributed import decided_by_main_process, process_group
from kdhub.engine.hooks.interrupt import Interrupted
from kdhub.engine.report.console import say
from kdhub.engine.workdir.identity import AFTER, config_fingerprint, experiment
from kdhub.engine.workdir.run_card import RunCard
from kdhub.engine.workdir.work_dir import latest_checkpoint, require_same_experiment
from kdhub.errors import placed

Resume = bool | str | Path


def after_predecessors(
    cfg: Config, resume: Resume, *, run: Callable[[Config], Any], launcher: str
) -> tuple[Config, Resume]:
    """Run what a config needs first, and put the folders where the config refers to them.

    A predecessor that is finished and unchanged is not repeated, and one that was stopped goes on where it stopped.

    Args:
        cfg: The config, which is not changed.
        resume: Whether the config's own run goes on; it begins if it was stopped within a predecessor.
        run: Trains, or does the job of, one config; what it returns says whether the user asked to stop (``signalled``).
        launcher: As in `kdhub.engine.train.train`.

    Returns:
        A config without predecessors, whose ``after`` says what they were; and how to resume it.

    Raises:
        UsageError: If a predecessor cannot be read, or its folder holds what another config made.
    """
    if not specs(cfg):
        return cfg, resume
    cfg = copy.deepcopy(cfg)
    add_common_defaults(cfg)
    before = predecessors(cfg)
    resolved = with_folders(cfg, {name: own.work_dir for name, own in before.items()})
    with process_group(copy.deepcopy(cfg), launcher):
        for number, (name, own) in enumerate(before.items(), 1):
            if is_main_process():
                say(f"{name}: predecessor {number} of {len(before)}, in {own.work_dir}")
            run_custom_imports(own.get("custom_imports"))
            own.launcher, own.resume = launcher, True
            with placed(f"{KEY}.{name}"):
                own, _ = after_predecessors(own, False, run=run, launcher=launcher)
                described = experiment(own if own.get("job") is not None else completed(own)[0])
                decided_by_main_process(partial(require_same_experiment, Path(own.work_dir), described))
                if run(own).signalled:
                    raise Interrupted("stopped after a predecessor", fix="to go on: give the same command again")
        resolved[AFTER] = decided_by_main_process(lambda: results_of(before))
    resolved.pop(KEY)
    if resume is True and latest_checkpoint(Path(cfg.work_dir)) is None:
        resume = False
    return resolved, resume


def results_of(before: Mapping[str, Config]) -> dict[str, str]:
    """Tell one result of each predecessor from the next: by its experiment, and when it ended.

    Args:
        before: Name to config, with the folder as its ``work_dir``.
    """
    found = {}
    for name, cfg in before.items():
        card = RunCard.read(Path(cfg.work_dir))
        content: Mapping[str, Any] = {} if card is None else card.content
        found[name] = config_fingerprint([content.get("experiment"), content.get("ended")])
    return found
