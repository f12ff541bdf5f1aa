"""``kdhub recommend``: pipelines for a new data set, out of a table of past runs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdhub.api import Parser, UsageError

TEXT = """Recommend pipelines for a new data set, from past runs on others (AutoDistiller).

Runs are work_dirs of kdhub, or a CSV file with a line a run: a column with the score, one with the data set's name, and every other column
a choice, unless you say otherwise. A recommendation is worth what its error is: each data set is left out in turn, and the regret of the
recommended pipeline is printed beside that of the one that is best on average, and of one drawn by chance.

Examples:
  kdhub recommend runs.csv --score accuracy --data-set task --features train_size classes --new train_size=8500 classes=2
  kdhub recommend work_dirs/a work_dirs/b work_dirs/c --score top1"""


def main(argv: list[str]) -> int:
    """Recommend; return the exit code."""
    parser = Parser("recommend", TEXT)
    parser.add_argument("runs", nargs="+", help="CSV files, or work_dirs of kdhub")
    parser.add_argument("--score", required=True, help="column or metric that is the score")
    parser.add_argument("--lower-is-better", action="store_true", help="the score is an error, such as a perplexity")
    parser.add_argument("--data-set", default="data_set", help="column with the data set's name (default data_set)")
    parser.add_argument("--features", nargs="+", default=[], help="columns that describe the data set, numbers")
    parser.add_argument("--leave-out", nargs="+", default=[], help="columns that are no choices")
    parser.add_argument(
        "--new",
        nargs="+",
        default=[],
        help="features of the new data set, NAME=NUMBER; without them pipelines are recommended for any data set",
    )
    parser.add_argument("--top", type=int, default=5, help="how many pipelines to recommend (default 5)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the forest (default 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse(argv)

    from kdlm.past_runs import read_csv, read_run, varying
    from kdlm.recommend import Recommender, leave_one_out

    runs = []
    for name in options.runs:
        path = Path(name)
        if path.is_dir():
            runs.append(read_run(path, options.score))
        else:
            runs += read_csv(path, options.score, options.data_set, options.features, options.leave_out)
    if options.lower_is_better:
        runs = [run._replace(score=-run.score) for run in runs]
    runs = varying(runs)
    trust = leave_one_out(runs, options.seed)
    features = _features(options.new, runs[0].features)
    if not features:  # of an unknown data set the choices alone can be told apart
        runs = [run._replace(features={}) for run in runs]
    best = Recommender(runs, options.seed).best(features, options.top)
    if options.json:
        left_out = [{name: _or_none(value) for name, value in one._asdict().items()} for one in trust]
        print(json.dumps({"left_out": left_out, "recommended": best}))
        return 0
    print("left out        runs  error   rank  regret  best on average  by chance")
    for one in trust:
        figures = f"{one.error:>6.2f} {one.rank:>6.2f} {one.regret:>7.3f} {one.regret_on_average:>16.3f} {one.regret_by_chance:>10.3f}"
        print(f"{one.data_set[:14]:<14} {one.runs:>5} {figures}")
    mean = sum(one.regret for one in trust) / len(trust)
    chance = sum(one.regret_by_chance for one in trust) / len(trust)
    print(
        f"mean regret {mean:.3f}, by chance {chance:.3f}" + ("" if mean < chance else ": these runs recommend nothing")
    )
    for place, (standing, pipeline) in enumerate(best, start=1):
        chosen = ", ".join(
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in pipeline.items()
        )
        print(f"{place}. {standing:+.2f}  {chosen}")
    return 0


def _or_none(value: Any) -> Any:
    """Return None for NaN, which JSON does not know."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _features(given: list[str], known: Mapping[str, float]) -> dict[str, float]:
    found = {}
    for one in given:
        name, _equals, text = one.partition("=")
        if name not in known:
            raise UsageError(f"the runs have no feature {name!r}", where="--new", expected=", ".join(known) or "none")
        try:
            found[name] = float(text)
        except ValueError:
            raise UsageError("not NAME=NUMBER", where="--new", got=one) from None
    missing = [name for name in known if name not in found]
    if given and missing:
        raise UsageError("features of the new data set are missing", where="--new", got=", ".join(missing))
    return found
