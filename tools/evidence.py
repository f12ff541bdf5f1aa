"""Evidence for a method: the same student trained by several configs over several seeds, as a table with intervals.

Each variant is a config, with overrides after commas; the seed sets initial weights and data order, so variants are compared pair by pair. Where a draw of labels or of a subset has a seed of its own, an override says {seed}. Runs are
`kdhub train` processes. A finished run of the same experiment is not repeated: the same command goes on where it stopped. A folder that holds another
experiment is refused before anything is trained.
With --bare DRAWS each run is a bare loop in this process over DRAWS augmentations of each image, without checkpoints and reports: for students
that train in seconds. A student without a teacher sees as many augmentations as one whose store holds them.
Choose hyperparameters on validation data before this; with --test the test data is evaluated once a run, at the end.
With --paired the table has p-values over queries too: for metrics that keep the measures of each query (kdret.IRMetric). Each query's
value is its mean over the seeds; the test flips the signs of the differences (a paired randomisation test, two-sided, not corrected for
the number of comparisons). Seeds tell how much a training varies, queries how much a collection does.

Examples:
    python tools/evidence.py plain=configs/a.py,optim_wrapper.optimizer.lr=1e-4 ours=configs/b.py --metric nDCG@10,MRR@10
    python tools/evidence.py plain=configs/a.py ours=configs/b.py --dry-run      check everything, train nothing, need no data
"""

from __future__ import annotations

import argparse
import copy
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from evidence_tables import long_table, summary_of, wide_table

from kdhub.cli.main import main as command_line
from kdhub.config import check_config, load_config
from kdhub.config.read.predecessors import located, predecessors, specs
from kdhub.engine.defaults import completed
from kdhub.engine.evaluation import PARTS
from kdhub.engine.libraries import import_library
from kdhub.engine.stages import results_of
from kdhub.engine.workdir.identity import AFTER, config_fingerprint, differences, experiment
from kdhub.engine.workdir.run_card import RunCard
from kdhub.errors import KdhubError, UsageError, near_matches
from kdhub.files import file_sha256
from kdhub.registry import init
from kdhub.sealed import read_sealed

SEED = "{seed}"
"""Stands for the run's seed in an override."""
PER_QUERY = {"val": "per_query.json", "test": "per_query.test.json"}
_PROCESSES: Any = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
if isinstance(_PROCESSES, ForkServerContext):
    # what is not installed is passed over
    _LIBRARIES = ["torch", "torchvision", "timm", "mmengine.runner", "kdhub.engine.train"]
    _PROCESSES.set_forkserver_preload(["__main__", *_LIBRARIES])


@dataclass(frozen=True)
class Run:
    """One variant with one seed."""

    name: str
    seed: int
    config: str
    options: tuple[str, ...]
    work_dir: Path

    @cached_property
    def cfg(self) -> Any:
        """The config with the overrides and the seed."""
        return load_config(self.config, self.options)

    @property
    def experiment(self) -> dict[str, str]:
        """What `kdhub train` would write into the run card, once the predecessors have run."""
        cfg = copy.deepcopy(self.cfg)
        cfg.work_dir = str(self.work_dir)
        found = located(cfg)
        if found is not cfg:
            found[AFTER] = results_of(predecessors(cfg))
        return experiment(completed(found)[0])

    def state(self) -> str:
        """Say what is left to do: ``train``, ``resume``, or ``reuse``.

        Raises:
            UsageError: If the folder holds another experiment.
        """
        card = RunCard.read(self.work_dir)
        if card is None:
            return "resume" if (self.work_dir / "last_checkpoint").is_file() else "train"
        changed = differences(card.content.get("experiment", {}), self.experiment)
        if changed:
            raise UsageError(
                f"the folder of {self.name!r} holds another experiment",
                where=str(self.work_dir),
                got=f"a variant that differs in {', '.join(changed)}",
                fix="move that folder away to train the variant anew, or choose another --work-dir",
            )
        if card.content.get("status") == "finished":
            return "reuse"
        return "resume" if (self.work_dir / "last_checkpoint").is_file() else "train"


def main(argv: list[str] | None = None) -> int:
    """Check everything, run what is missing, then print the table."""
    args = _parser().parse_intermixed_args(argv)
    try:
        if args.bare and (args.jobs > 1 or args.paired):
            raise UsageError(
                "--bare trains one run after the other, and keeps no measures of queries",
                fix="leave --jobs and --paired out",
            )
        runs = _runs(args)
        _check(runs, args)
        states = {run.work_dir: run.state() for run in runs}
        if args.dry_run:
            for run in runs:
                print(f"{states[run.work_dir]:7}{run.work_dir}  kdhub train {run.config} {' '.join(run.options)}")
            return 0
        summary = summary_of(_run_all(runs, args), args.metric, args.seeds, args.test, args.against)
    except KdhubError as error:
        print(f"evidence: error: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"evidence: error: a run failed, the same command goes on: {' '.join(error.cmd)}", file=sys.stderr)
        return 1
    (args.work_dir / "evidence.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    table = wide_table(summary, args.against) if args.against else long_table(summary)
    print(json.dumps(summary, indent=2) if args.json else table)
    return 0


def _parser() -> argparse.ArgumentParser:
    """Declare the arguments. No option takes several words: it would swallow the variants that follow it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "variants", nargs="+", metavar="NAME=CONFIG[,KEY=VALUE...]", help="what to compare; the last is the method"
    )
    parser.add_argument(
        "--seeds", type=seeds_of, default=[0, 1, 2], metavar="N,N", help="at least 3 for an interval worth its name"
    )
    parser.add_argument(
        "--metric",
        type=lambda text: text.split(","),
        default=["nDCG@10"],
        metavar="NAME,NAME",
        help="metrics as in run.json (default nDCG@10)",
    )
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/evidence"))
    parser.add_argument(
        "--cfg-options", action="append", default=[], metavar="KEY=VALUE", help="given to every run; may be repeated"
    )
    parser.add_argument(
        "--jobs",
        type=_jobs,
        default=1,
        help="runs at a time; set OMP_NUM_THREADS so that they share the cores (default 1)",
    )
    parser.add_argument("--paired", action="store_true", help="p-values over queries, for metrics with per_query")
    parser.add_argument(
        "--against",
        type=lambda text: text.split(","),
        metavar="NAME,NAME",
        help="a row for each variant with its gains over these, in the place of the last variant's gains over all",
    )
    parser.add_argument(
        "--bare",
        type=_jobs,
        metavar="DRAWS",
        help="train in this process on this many augmentations of each image, and keep the metrics alone: for many short runs, on CPU",
    )
    parser.add_argument("--test", action="store_true", help="report the test data, evaluated once a run")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything and print the runs; data may be absent"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def seeds_of(text: str) -> list[int]:
    """Read seeds as typed; twice the same would be one draw that counts as two."""
    seeds = [int(seed) for seed in text.split(",")]
    if len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError("a seed occurs twice, and one run would count as two")
    return seeds


def _jobs(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return int(text)


def _runs(args: argparse.Namespace) -> list[Run]:
    """Return every variant with every seed; seed by seed, so that a stop leaves all variants equally far."""
    variants: dict[str, list[str]] = {}
    for text in args.variants:
        name, equals, config = text.partition("=")
        if not (equals and name and config):
            raise UsageError("not a variant", expected="NAME=CONFIG[,KEY=VALUE...]", got=repr(text))
        if name in variants:
            raise UsageError(f"two variants are called {name!r}", fix="rename one")
        variants[name] = re.split(r",(?=[\w.:]+=)", config)  # a value may hold commas, such as [0.9,0.95]
    return [
        Run(name, seed, config, _options(args, name, seed, overrides), args.work_dir / name / f"seed{seed}")
        for seed in args.seeds
        for name, (config, *overrides) in variants.items()
    ]


def _options(args: argparse.Namespace, name: str, seed: int, overrides: list[str]) -> tuple[str, ...]:
    options = [f"randomness.seed={SEED}", *args.cfg_options, *overrides]
    if args.paired:
        # of both, so that runs that were evaluated on validation data are not trained anew to be tested
        options += [
            f"{part}_evaluator.per_query={args.work_dir / name / f'seed{seed}' / PER_QUERY[part]}"
            for part in (("val", "test") if args.test else ("val",))
        ]
    return tuple(option.replace(SEED, str(seed)) for option in options)


def _evaluator(args: argparse.Namespace) -> str:
    return "test_evaluator" if args.test else "val_evaluator"


def _check(runs: list[Run], args: argparse.Namespace) -> None:
    """See that each variant passes the config check, and that it reports the metrics.

    Raises:
        UsageError: For the first that does not, or that has nothing to measure it with.
    """
    unknown = [name for name in args.against or () if name not in {run.name for run in runs}]
    if unknown:
        raise UsageError(
            f"--against {unknown[0]}: no variant is called so",
            near=near_matches(unknown[0], {run.name for run in runs}),
        )
    manager = init()
    evaluator = _evaluator(args)
    for run in {run.name: run for run in runs}.values():
        report = check_config(run.cfg, manager)
        if not report.ok:
            raise UsageError("; ".join(finding.line() for finding in report.errors), where=f"{run.name}={run.config}")
        if not run.cfg.get(evaluator):
            raise UsageError(f"the config has no {evaluator}", where=f"{run.name}={run.config}", fix="set it")
        names = list(_metric_names(run.cfg, evaluator))
        for metric in args.metric:
            prefix, _, name = metric.rpartition("/")
            stem = re.match("[A-Za-z_]*", name)
            if not any(prefix == of and stem and stem[0] in text for of, text in names):
                print(
                    f"evidence: warning: nothing in {evaluator} of {run.config} seems to report {metric!r}",
                    file=sys.stderr,
                )


def _metric_names(cfg: Any, evaluator: str) -> Iterator[tuple[str, str]]:
    """Yield the prefix of each metric, and the text in which its names must occur: its options and its source."""
    from mmengine.registry import METRICS, DefaultScope

    import_library(cfg)
    entries = cfg[evaluator]
    # mmengine prints that a metric has no prefix
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope")), redirect_stdout(sys.stderr):
        for entry in entries if isinstance(entries, list) else [entries]:
            try:
                metric = METRICS.build(entry)
                kind, prefix = type(metric), metric.prefix
            except FileNotFoundError:  # annotations, which a dry run does without
                kind = METRICS.get(entry["type"])
                prefix = entry.get("prefix") or kind.default_prefix
            yield prefix or "", f"{entry} {inspect.getsource(inspect.getmodule(kind) or kind)}"


def _run_all(runs: list[Run], args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    with ThreadPoolExecutor(args.jobs) as pool:
        pending = [(run.name, pool.submit(_run, run, args)) for run in runs]
    results: dict[str, list[dict[str, Any]]] = {}
    for name, result in pending:
        results.setdefault(name, []).append(result.result())
    return results


def _run(run: Run, args: argparse.Namespace) -> dict[str, Any]:
    if args.bare:
        return {"metrics": _bare(run, args.test, args.bare), "baselines": {}}
    state = run.state()
    if state != "reuse":
        resume = ["--resume"] if state == "resume" else []
        _kdhub("train", run.config, "--work-dir", str(run.work_dir), "--cfg-options", *run.options, *resume)
    card = RunCard.read(run.work_dir)
    if card is None:
        raise UsageError("the run left no run.json", where=str(run.work_dir))
    found = (
        {"metrics": _tested(run), "baselines": {}}
        if args.test
        else {"metrics": card.last_metrics, "baselines": card.content.get("baselines", {})}
    )
    return found | {
        "per_query": read_sealed(run.work_dir / PER_QUERY["test" if args.test else "val"]) if args.paired else {}
    }


def _bare(run: Run, test: bool, draws: int) -> dict[str, Any]:
    """Train and measure in this process, unless that was done."""
    found = run.work_dir / f"bare-{'test' if test else 'val'}.json"
    experiment = {**run.experiment, "draws": draws}
    if found.is_file():
        content = json.loads(found.read_text(encoding="utf-8"))
        if content["experiment"] != experiment:
            raise UsageError(
                f"the folder of {run.name!r} holds another experiment", where=str(found), fix="move it away"
            )
    else:
        from bare_run import measured  # torch, which a dry run does not need

        content = {"experiment": experiment, "metrics": measured(run.cfg, test, draws)}
        run.work_dir.mkdir(parents=True, exist_ok=True)
        run.cfg.dump(str(run.work_dir / "config.json"))
        found.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        print(run.name, run.seed, content["metrics"], file=sys.stderr, flush=True)
    metrics: dict[str, Any] = content["metrics"]
    return metrics


def _tested(run: Run) -> dict[str, Any]:
    """Evaluate the test data, unless that was done with this checkpoint and this config."""
    checkpoint = Path((run.work_dir / "last_checkpoint").read_text(encoding="utf-8").strip())
    identity = {
        **run.experiment,
        "test": config_fingerprint([run.cfg.get(part) for part in PARTS["test"]]),
        "checkpoint": file_sha256(checkpoint),
    }
    results, of = run.work_dir / "test.json", run.work_dir / "test.identity.json"
    if not (results.is_file() and of.is_file() and json.loads(of.read_text(encoding="utf-8")) == identity):
        folder = ["--work-dir", str(run.work_dir)] if specs(run.cfg) else []
        _kdhub("test", run.config, str(checkpoint), "--out", str(results), *folder, "--cfg-options", *run.options)
        of.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
    metrics: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
    return metrics


def _kdhub(*arguments: str) -> None:
    """Run a command in a process of its own, as `python -m kdhub` does, but without importing torch again for each."""
    print("+ kdhub", *arguments, file=sys.stderr, flush=True)
    process = _PROCESSES.Process(target=_in_process, args=(arguments,))
    process.start()
    process.join()
    if process.exitcode:
        raise subprocess.CalledProcessError(process.exitcode, ["kdhub", *arguments])


def _in_process(arguments: tuple[str, ...]) -> None:
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.argv = ["kdhub", *arguments]
    sys.exit(command_line(arguments))


if __name__ == "__main__":
    sys.exit(main())
