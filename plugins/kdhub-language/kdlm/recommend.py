"""AutoDistiller: which pipeline to try on a new data set, learned from past runs, and how far that can be trusted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kdhub.api import UsageError
from kdlm.past_runs import Run, Value


class Trust(NamedTuple):
    """What recommending would have been worth on a data set that was left out.

    Attributes:
        data_set: The one that was left out.
        runs: Its number of runs.
        error: Mean absolute error of the predicted standing, in standard deviations of the data set's scores.
        rank: Spearman's correlation of predicted and real standing; NaN where all are equal.
        regret: Best score of the data set minus that of the pipeline recommended among its runs.
        regret_on_average: The same for the pipeline that was best on average over the other data sets, where it was run.
        regret_by_chance: The same for a pipeline drawn at random.
    """

    data_set: str
    runs: int
    error: float
    rank: float
    regret: float
    regret_on_average: float
    regret_by_chance: float


class Recommender:
    """Predicts how a pipeline stands among those of its data set, by a forest of regression trees.

    The target is a run's score minus the mean of its data set's, divided by their standard deviation, so that data sets whose scores differ in size can
    teach each other. Words are one-hot, numbers as they are; a choice that was not made is 0 in all its columns.

    Args:
        runs: Past runs on 2 data sets or more.
        seed: Of the forest.

    Raises:
        UsageError: For runs on fewer data sets, or in which nothing differs.
    """

    def __init__(self, runs: Sequence[Run], seed: int = 0) -> None:
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.feature_extraction import DictVectorizer

        if not any(run.choices for run in runs):
            raise UsageError("the runs differ in no choice, so there is nothing to recommend", got=f"{len(runs)} runs")
        self.runs = list(runs)
        self.seed = seed
        self._columns = DictVectorizer(sparse=False)
        inputs = self._columns.fit_transform([_inputs(run.choices, run.features) for run in runs])
        self._forest = RandomForestRegressor(n_estimators=100, min_samples_leaf=2, random_state=seed, n_jobs=1)
        self._forest.fit(inputs, standing(runs))

    def predict(self, pipelines: Sequence[Mapping[str, Value]], features: Mapping[str, float]) -> np.ndarray:
        """Predict the standing of pipelines on a data set: (P,), in standard deviations above its mean."""
        inputs = [_inputs(pipeline, features) for pipeline in pipelines]
        return np.asarray(self._forest.predict(self._columns.transform(inputs)))

    def best(self, features: Mapping[str, float], count: int = 5) -> list[tuple[float, Mapping[str, Value]]]:
        """Return the pipelines of past runs that are predicted to stand best on a data set, with their standing."""
        pipelines = [dict(key) for key in dict.fromkeys(_key(run) for run in self.runs)]
        found = self.predict(pipelines, features)
        order = np.argsort(-found, kind="stable")[:count]
        return [(float(found[place]), pipelines[place]) for place in order]


def standing(runs: Sequence[Run]) -> np.ndarray:
    """Standing of each run among those of its data set, in standard deviations; 0 where all scores are equal."""
    by_set = defaultdict(list)
    for run in runs:
        by_set[run.data_set].append(run.score)
    places = {name: (np.mean(scores), np.std(scores) or 1.0) for name, scores in by_set.items()}
    return np.array([(run.score - places[run.data_set][0]) / places[run.data_set][1] for run in runs])


def leave_one_out(runs: Sequence[Run], seed: int = 0) -> list[Trust]:
    """Leave out each data set in turn, learn from the others, and see what the recommendation would have been worth.

    Args:
        runs: Past runs.
        seed: Of the forests.

    Raises:
        UsageError: For runs on fewer than 2 data sets.
    """
    names = list(dict.fromkeys(run.data_set for run in runs))
    if len(names) < 2:
        raise UsageError(
            "runs on one data set say nothing about another",
            expected="runs on 2 data sets or more",
            got=", ".join(names),
        )
    return [_trust(name, runs, seed) for name in names]


def _trust(name: str, runs: Sequence[Run], seed: int) -> Trust:
    from scipy.stats import spearmanr

    inside, others = [run for run in runs if run.data_set == name], [run for run in runs if run.data_set != name]
    real = standing(inside)
    predicted = Recommender(others, seed).predict([run.choices for run in inside], inside[0].features)
    scores = np.array([run.score for run in inside])
    flat = np.ptp(real) == 0 or np.ptp(predicted) == 0
    return Trust(
        data_set=name,
        runs=len(inside),
        error=float(np.abs(real - predicted).mean()),
        rank=float("nan") if flat else float(spearmanr(real, predicted).statistic),
        regret=float(scores.max() - scores[predicted.argmax()]),
        regret_on_average=_regret_on_average(inside, others),
        regret_by_chance=float(scores.max() - scores.mean()),
    )


def _regret_on_average(inside: Sequence[Run], others: Sequence[Run]) -> float:
    means: dict[Any, list[float]] = defaultdict(list)
    for run, value in zip(others, standing(others), strict=True):
        means[_key(run)].append(float(value))
    here: dict[Any, list[float]] = defaultdict(list)
    for run in inside:
        here[_key(run)].append(run.score)
    known = [key for key in here if key in means]
    if not known:
        return float("nan")
    chosen = max(known, key=lambda key: np.mean(means[key]))
    return float(max(run.score for run in inside) - np.mean(here[chosen]))


def _key(run: Run) -> tuple[tuple[str, Value], ...]:
    return tuple(sorted(run.choices.items()))


def _inputs(choices: Mapping[str, Value], features: Mapping[str, float]) -> dict[str, Value]:
    return {
        **{f"choice {name}": value for name, value in choices.items()},
        **{f"data {k}": v for k, v in features.items()},
    }
