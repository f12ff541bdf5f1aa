"""Does DisWOT rank students as distillation does? Kendall's tau and Spearman's rho over the variants of an evidence run.

`tools/evidence.py --bare` distils each student and leaves evidence.json; here each is scored with random weights on one batch, nothing is trained,
and the two orders are compared. The number of parameters is the rival that costs nothing. Confidence: 95 % by 1,000 bootstrap samples of
the students.

Example:
    python tools/diswot_evidence.py CONFIG work_dirs/evidence/diswot --teacher TEACHER_CONFIG --metric top1
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.runner import Runner
from scipy.stats import kendalltau, spearmanr
from torch import Tensor, nn

from kdcls.diswot import draw_weights, knowledge, score
from kdhub.config import load_config
from kdhub.errors import KdhubError, UsageError, near_matches
from kdhub.inner import inner_of
from kdhub.registry import init

DRAWS = 1000


def main(argv: list[str] | None = None) -> int:
    """Score the students, and print the table and the correlations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="the config that was distilled; its variants changed model.student.net")
    parser.add_argument("runs", type=Path, help="the folder of tools/evidence.py")
    parser.add_argument("--teacher", required=True, metavar="CONFIG")
    parser.add_argument("--teacher-options", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--metric", default="top1")
    parser.add_argument("--seeds", type=int, default=3, help="draws of the weights, averaged (default 3)")
    args = parser.parse_args(argv)
    try:
        print(_report(args))
    except KdhubError as error:
        print(f"diswot_evidence: error: {error}", file=sys.stderr)
        return 2
    return 0


def _report(args: argparse.Namespace) -> str:
    init()
    found = _distilled(args.runs / "evidence.json", args.metric)
    nets = {name: _saved(args.runs / name).model.student for name in found}
    images, labels = _batch(load_config(args.config))
    teacher = load_config(args.teacher, args.teacher_options).model
    rows = {
        name: _scores(partial(_net, net), partial(_net, teacher), images, labels, args.seeds)
        for name, net in nets.items()
    }
    accuracy = [found[name]["mean"] for name in nets]
    lines = ["| student | parameters | semantic | relation | DisWOT | distilled |", "|---|---|---|---|---|---|"]
    columns: dict[str, list[float]] = {"parameters": [], "semantic": [], "relation": [], "DisWOT": []}
    for (name, values), distilled in zip(rows.items(), accuracy, strict=True):
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
        lines.append(
            f"| {name} | {values[0]:,.0f} | {values[1]:.4f} | {values[2]:.4f} | {values[3]:.4f} | {distilled:.2f} |"
        )
    lines += ["", "| rank correlation with distilled accuracy | Kendall's tau | Spearman's rho |", "|---|---|---|"]
    for name, column in columns.items():
        cells = [_with_interval(of, column, accuracy) for of in (kendalltau, spearmanr)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _distilled(path: Path, metric: str) -> dict[str, Any]:
    try:
        metrics = json.loads(path.read_text(encoding="utf-8"))["metrics"]
    except OSError as error:
        raise UsageError("no evidence here", where=str(path), fix="run tools/evidence.py --bare first") from error
    if metric not in metrics:
        raise UsageError(
            f"no metric {metric!r}", where=str(path), got=", ".join(metrics), near=near_matches(metric, metrics)
        )
    found: dict[str, Any] = metrics[metric]["variants"]
    return found


def _saved(folder: Path) -> Config:
    """Return the config that a run of the variant has left, overrides and all."""
    configs = sorted(folder.glob("seed*/config.json"))
    if not configs:
        raise UsageError("no run of this variant is left", where=str(folder), expected="seed*/config.json")
    return Config.fromfile(configs[0])


def _batch(cfg: Any) -> tuple[Tensor, Tensor]:
    loader = Runner.build_dataloader(copy.deepcopy(cfg.train_dataloader), seed=0)
    batch = MODELS.build(copy.deepcopy(cfg.model.student)).data_preprocessor(next(iter(loader)), training=False)
    return batch["inputs"], batch["labels"]


def _net(model: Any) -> nn.Module:
    return inner_of(MODELS.build(copy.deepcopy(model)))


def _scores(
    make: Callable[[], nn.Module], make_teacher: Callable[[], nn.Module], images: Tensor, labels: Tensor, seeds: int
) -> tuple[float, float, float, float]:
    drawn = []
    for seed in range(seeds):
        known = []
        for one in (make, make_teacher):
            torch.manual_seed(seed)
            net = one()
            draw_weights(net)
            known.append(knowledge(net, images, labels))
        drawn.append(score(*known))
    parameters = sum(weight.numel() for weight in make().parameters())
    semantic, relation = (statistics.fmean(getattr(one, name) for one in drawn) for name in ("semantic", "relation"))
    return parameters, semantic, relation, semantic + relation


def _with_interval(correlation: Callable[..., Any], ours: list[float], accuracy: list[float]) -> str:
    left, right = np.array(ours), np.array(accuracy)
    places = np.random.default_rng(0).integers(len(left), size=(DRAWS, len(left)))
    drawn = [correlation(left[rows], right[rows]).statistic for rows in places]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return f"{correlation(left, right).statistic:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    sys.exit(main())
