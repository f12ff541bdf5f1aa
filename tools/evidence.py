"""Evidence for a method: the same student trained by several configs over several seeds, as a table with intervals.

Each variant is a config, with overrides after commas; the seed sets initial weights and data order, so variants are compared pair by pair. Runs are
`kdhub train` processes, and a finished run is not repeated: the same command goes on where it stopped.
Choose hyperparameters on validation data before this; with --test the test data is evaluated once a run, at the end.

Example:
    python tools/evidence.py plain=configs/a.py,optim_wrapper.optimizer.lr=1e-4 ours=configs/b.py --metric nDCG@10
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from scipy.stats import t as student_t


def main() -> int:
    """Run what is missing, then print the table."""
    args = _parser().parse_args()
    variants = dict(variant.split("=", 1) for variant in args.variants)
    runs = _run_all(variants, args)
    summary = _summary(runs, args)
    path = args.work_dir / "evidence.json"
    path.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=2) if args.json else _table(summary))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "variants", nargs="+", metavar="NAME=CONFIG[,KEY=VALUE...]", help="what to compare; the last is the method"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="at least 3 for an interval worth its name"
    )
    parser.add_argument("--metric", nargs="+", default=["nDCG@10"], help="metrics as in run.json (default nDCG@10)")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/evidence"))
    parser.add_argument("--cfg-options", nargs="+", default=[], help="given to every run")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="runs at a time; set OMP_NUM_THREADS so that they share the cores (default 1)",
    )
    parser.add_argument("--test", action="store_true", help="report the test data, evaluated once a run")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _run_all(variants: dict[str, str], args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Run every variant with every seed; seed by seed, so that a stop leaves all variants equally far."""
    with ThreadPoolExecutor(args.jobs) as pool:
        pending = {
            (name, seed): pool.submit(_run, args.work_dir / name / f"seed{seed}", config, seed, args)
            for seed in args.seeds
            for name, config in variants.items()
        }
    return {name: [pending[name, seed].result() for seed in args.seeds] for name in variants}


def _run(work_dir: Path, variant: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    config, *overrides = variant.split(",")
    card = work_dir / "run.json"
    if not card.is_file() or json.loads(card.read_text(encoding="utf-8"))["status"] != "finished":
        options = ["--cfg-options", f"randomness.seed={seed}", *args.cfg_options, *overrides]
        _kdhub("train", config, "--work-dir", str(work_dir), *options, *(["--resume"] if _resumable(work_dir) else []))
    content: dict[str, Any] = json.loads(card.read_text(encoding="utf-8"))
    if not args.test:
        return {"metrics": content["evaluations"][-1]["metrics"], "baselines": content.get("baselines", {})}
    tested = work_dir / "test.json"
    if not tested.is_file():
        pointer = (work_dir / "last_checkpoint").read_text(encoding="utf-8").strip()
        _kdhub("test", str(work_dir / "config.py"), pointer, "--out", str(tested))
    return {"metrics": json.loads(tested.read_text(encoding="utf-8")), "baselines": {}}


def _resumable(work_dir: Path) -> bool:
    return (work_dir / "last_checkpoint").is_file()


def _kdhub(*arguments: str) -> None:
    print("+ kdhub", *arguments, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "kdhub", *arguments], check=True, stdout=sys.stderr, env={**os.environ})


def _summary(runs: dict[str, list[dict[str, Any]]], args: argparse.Namespace) -> dict[str, Any]:
    table: dict[str, Any] = {"seeds": args.seeds, "test": args.test, "metrics": {}}
    for metric in args.metric:
        values = {name: [run["metrics"][metric] for run in own] for name, own in runs.items()}
        first = next(iter(runs.values()))[0]["baselines"]
        fixed = {f"teacher {name}": found[metric] for name, found in first.get("teachers", {}).items()}
        if "student" in first:
            fixed["student before"] = first["student"][metric]
        method = list(values)[-1]
        table["metrics"][metric] = {
            "fixed": fixed,
            "variants": {name: {"values": own, **_interval(own)} for name, own in values.items()},
            "gains": {
                f"{method} - {name}": _interval([a - b for a, b in zip(values[method], own, strict=True)])
                for name, own in values.items()
                if name != method
            },
        }
    return table


def _interval(values: list[float]) -> dict[str, float]:
    """Mean and the half-width of its 95 % interval (Student's t over seeds)."""
    spread = statistics.stdev(values) if len(values) > 1 else float("nan")
    half = float(student_t.ppf(0.975, len(values) - 1)) * spread / len(values) ** 0.5 if len(values) > 1 else spread
    return {"mean": statistics.fmean(values), "half_width_95": half, "stdev": spread}


def _table(summary: dict[str, Any]) -> str:
    lines = []
    for metric, found in summary["metrics"].items():
        lines += [f"| {metric}, {len(summary['seeds'])} seeds | mean | 95 % interval | stdev |", "|---|---|---|---|"]
        lines += [f"| {name} | {value:.4f} | | |" for name, value in found["fixed"].items()]
        for name, own in {**found["variants"], **found["gains"]}.items():
            lines.append(f"| {name} | {own['mean']:.4f} | ± {own['half_width_95']:.4f} | {own['stdev']:.4f} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
