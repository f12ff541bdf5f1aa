"""`tune`: trials of one study, which several processes may share and a later command may continue."""

from __future__ import annotations

import copy
import logging
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from kdhub.config.read.options import apply_options, in_order
from kdhub.engine.defaults import completed
from kdhub.engine.hooks.interrupt import Interrupted
from kdhub.engine.report.console import say
from kdhub.engine.stages import after_predecessors
from kdhub.engine.train import train
from kdhub.engine.tune.fitness import without_test
from kdhub.engine.tune.space import Dimension
from kdhub.engine.workdir.identity import differences, experiment
from kdhub.engine.workdir.lock import FolderTakenError, folder_lock
from kdhub.engine.workdir.work_dir import make_work_dir
from kdhub.errors import KdhubError, UsageError, near_matches
from kdhub.files import FullDiskError

JOURNAL = "study.journal"
"""Optuna's file in the study's folder: every trial, and what the study is of."""
TRIALS = "trials"
_ABOUT = "kdhub"
_WHY = "why"
_STOPPED = "stopped"
_SECONDS_BETWEEN_TRIES = 1.0


@dataclass(frozen=True, slots=True)
class Goal:
    """What a study is of.

    Attributes:
        metric: Name of a metric of the last evaluation, as in run.json.
        direction: ``maximize`` or ``minimize``.
        space: What is tried.
        trials: How many finished trials the study shall have, those of former and other processes included.
        seed: Of the values that are proposed; ``None`` draws one. Processes at one study need different ones.
    """

    metric: str
    direction: str
    space: tuple[Dimension, ...]
    trials: int
    seed: int | None = None


def tune(cfg: Config, goal: Goal, check: Callable[[Config], None]) -> Any:
    """Train trials until the study has as many as wanted.

    Predecessors are run once, in the study's folder. Each trial is a run of its own in ``trials/NUMBER``, without test data.

    Args:
        cfg: The config, whose ``work_dir`` is the study's folder; it is not changed.
        goal: What to look for, and how long.
        check: Raises if a config with values of the space cannot be trained.

    Returns:
        The study, of Optuna.

    Raises:
        UsageError: If the folder holds another study; for a trial that fails before any has finished, since then the config or
            the space is wrong; for a fault of the machine, such as a full disk; and if a trial reports no such metric.
        Interrupted: If the user stopped a trial. The study keeps its values and tries them again.
    """
    folder = Path(cfg.work_dir).absolute()
    make_work_dir(folder)
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = str(folder)
    without_test(cfg)
    study = open_study(folder, goal.direction, goal.seed)  # says that Optuna is missing before hours of predecessors
    cfg = _with_predecessors_done(cfg, folder)
    _require_same(study, folder, {**experiment(completed(cfg)[0]), **_described(goal)})
    while len(finished(study)) < goal.trials:
        _try_one(study, cfg, goal, folder, check)
    return study


def open_study(folder: Path, direction: str, seed: int | None = None) -> Any:
    """Open the study of a folder, or begin one.

    Raises:
        UsageError: If Optuna is not installed.
    """
    try:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend
    except ImportError as error:
        raise UsageError("`kdhub tune` needs Optuna", fix="pip install 'kdhub[tune]'") from error
    optuna.logging.set_verbosity(logging.WARNING)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / JOURNAL))),
        study_name=_ABOUT,
        direction=optuna.study.StudyDirection[direction.upper()],
        load_if_exists=True,
    )
    if seed is not None:  # a command that goes on must not propose what the former one proposed first
        seed = int(np.random.SeedSequence([seed, len(study.get_trials(deepcopy=False))]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # other processes' running trials count as poor ones, so that two do not try the same
        study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return study


def finished(study: Any) -> list[Any]:
    """Return the trials that were trained to their end or failed by themselves; not those that somebody stopped."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state.name == "COMPLETE" or (trial.state.name == "FAIL" and _STOPPED not in trial.user_attrs)
    ]


def why_failed(trial: Any) -> str:
    """Return what a trial failed of; empty if it did not."""
    return str(trial.user_attrs.get(_WHY, ""))


def _with_predecessors_done(cfg: Config, folder: Path) -> Config:
    """Run what the config needs first, once for all trials and processes of the study."""
    if not cfg.get("predecessors"):
        return cfg
    shared = folder / "predecessors"
    make_work_dir(shared)
    while True:
        try:
            with folder_lock(shared):
                return after_predecessors(cfg, False, run=train, launcher="none")[0]
        except FolderTakenError as error:
            if error.where != str(shared):
                raise
            say("another process of this study trains what the config needs first; waiting for it")
            time.sleep(_SECONDS_BETWEEN_TRIES)


def _described(goal: Goal) -> dict[str, str]:
    space = {f"--space {one.path}": one.text for one in goal.space}
    return {"--metric": goal.metric, "--direction": goal.direction, **space}


def _require_same(study: Any, folder: Path, about: Mapping[str, str]) -> None:
    """Refuse to mix two studies: their values would not be of one thing."""
    former = study.user_attrs.get(_ABOUT)
    if former is None:
        study.set_user_attr(_ABOUT, dict(about))
        return
    options = [name for name in {**former, **about} if name.startswith("--") and former.get(name) != about.get(name)]
    changed = [*differences(former, about), *options]
    if changed:
        raise UsageError(
            "the folder holds another study",
            where=str(folder),
            got=f"one that differs in {', '.join(changed)}",
            fix="choose another --work-dir, or move that one away",
        )


def _try_one(study: Any, cfg: Config, goal: Goal, folder: Path, check: Callable[[Config], None]) -> None:
    from optuna.trial import TrialState

    trial = study.ask()
    started = time.monotonic()
    try:
        values = {one.path: one.suggest(trial) for one in goal.space}
        say(f"trial {trial.number}: {', '.join(f'{path} {_short(value)}' for path, value in values.items())}")
        own = with_values(cfg, values)
        own.work_dir = str(folder / TRIALS / str(trial.number))
        check(own)
        result = train(own)
        value = _metric(result.metrics, goal.metric)
    except (Interrupted, KeyboardInterrupt):
        trial.set_user_attr(_STOPPED, True)
        study.tell(trial, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)  # the next process of the study begins with them
        raise
    except KdhubError as error:
        outside = isinstance(error.__cause__, OSError | FullDiskError)
        stop = outside or all(one.value is None for one in finished(study))
        trial.set_user_attr(_STOPPED if stop else _WHY, str(error))
        study.tell(trial, state=TrialState.FAIL)
        if outside:
            study.enqueue_trial(trial.params)
        if stop:
            raise
        say(f"trial {trial.number} failed: {error}", "yellow")
        return
    except BaseException:
        trial.set_user_attr(_STOPPED, True)
        study.tell(trial, state=TrialState.FAIL)
        raise
    trial.set_user_attr("seconds", round(time.monotonic() - started, 1))
    study.tell(trial, value)
    if result.signalled:
        raise Interrupted("stopped between two trials")


def with_values(cfg: Config, values: Mapping[str, Any]) -> Config:
    """Return a copy of a config with values at key paths."""
    own = copy.deepcopy(cfg)
    apply_options(own, in_order(values))
    return own


def _metric(metrics: Mapping[str, Any], name: str) -> float:
    value = metrics.get(name)
    if value is None:
        raise UsageError(
            f"the evaluation reports no {name!r}",
            where="--metric",
            expected=f"one of {', '.join(metrics)}" if metrics else "an evaluation at the end of training",
            near=near_matches(name, metrics),
        )
    # a card that was read back holds nan and inf as text
    if isinstance(value, str) or not math.isfinite(value):
        raise UsageError(f"{name} is {value} at the end of training")
    return float(value)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def options_of(space: Sequence[Dimension], params: Mapping[str, Any]) -> list[str]:
    """Return the values of a trial as ``--cfg-options`` take them, with all their digits."""
    return [f"{one.path}={one.written(params[one.path])}" for one in space if one.path in params]
