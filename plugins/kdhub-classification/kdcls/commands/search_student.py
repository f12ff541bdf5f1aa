"""``kdhub search-student``: the student of a config that DisWOT ranks first, within budgets, without training any."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from kdhub.api import Parser

TEXT = """Search the student that will learn best from a teacher, without training any (DisWOT).

The config trains the student afterwards. The net of its student must take `layers` and `channels`, as timm's ResNets do:
  net=dict(type="timm.create_model", model_name="resnet18", layers=[2, 2, 2, 2], channels=[64, 128, 256, 512])
Writes student.py, which inherits the config and has the winner's layers and channels. A search that was stopped goes on when the
command is given again.

Examples:
  kdhub search-student student.py --teacher teacher.py --params 2e6
  kdhub search-student student.py --teacher kdcls:digits-teacher --flops 5e7 --latency 4 --evaluations 500
  kdhub train work_dirs/search/student.py                                  train the winner afterwards"""


def main(argv: list[str]) -> int:
    """Search; return the exit code."""
    parser = Parser("search-student", TEXT)
    parser.add_argument("config", help="config, or scope:recipe, that trains the student")
    parser.add_argument("--teacher", required=True, help="config, or scope:recipe, that trains the teacher")
    parser.add_argument("--params", type=float, help="most parameters (default any)")
    parser.add_argument("--flops", type=float, help="most floating-point operations for one image (default any)")
    parser.add_argument("--latency", type=float, help="most milliseconds for one image on this CPU (default any)")
    parser.add_argument("--depths", type=int, nargs="+", help="blocks that a stage may have (default 1 2 3 4)")
    parser.add_argument("--widths", type=int, nargs="+", help="channels that a stage may have (default 16 to 256)")
    parser.add_argument("--evaluations", type=int, default=200, help="students to score (default 200)")
    parser.add_argument("--population", type=int, default=36, help="students that parents come from (default 36)")
    parser.add_argument("--tournament", type=int, default=8, help="students that compete for one parent (default 8)")
    parser.add_argument(
        "--seeds", type=int, default=1, help="draws of weights that a score is averaged over (default 1)"
    )
    parser.add_argument(
        "--init", default="normal", choices=("normal", "own"), help="weights: N(0, 1), or the nets' own"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of batch and search (default 0)")
    parser.add_argument("--work-dir", default="work_dirs/search", help="folder (default work_dirs/search)")
    options = parser.parse(argv)

    from kdcls.student_search import Budget, Entry, Scorer, Space, evolve
    from kdhub.api import init, integer, load_config, require, say, student_as_it_stands

    require("search-student", integer(1), **{"--seeds": options.seeds})
    init()
    cfg = load_config(options.config)
    model, stages = _searched(cfg, options.config)
    teacher_cfg = load_config(options.teacher)
    teacher = student_as_it_stands(teacher_cfg)["model"]
    images, labels = _batch(cfg, model, options.seed)
    ranges = {"depths": options.depths, "widths": options.widths}
    space = Space(stages, **{name: tuple(value) for name, value in ranges.items() if value})
    budget = Budget(_whole(options.params), _whole(options.flops), options.latency)

    def make(candidate: Any) -> Any:
        chosen = {"layers": candidate.layers, "channels": candidate.channels}
        return _net({**model, "net": {**model["net"], **chosen}})

    scorer = Scorer(make, lambda: _net(teacher), images, labels, range(options.seeds), options.init)
    folder = Path(options.work_dir)
    say(f"searching {options.evaluations} students, in {folder}")
    best: Entry = evolve(
        scorer,
        space,
        budget,
        folder,
        evaluations=options.evaluations,
        population=options.population,
        tournament=options.tournament,
        seed=options.seed,
        settings={
            "config": _fingerprint(cfg),
            "teacher": _fingerprint(teacher_cfg),
            "batch": _batch_fingerprint(images, labels),
        },
    )
    written = folder / "student.py"
    below = "student" in cfg.model
    written.write_text(_student_config(options.config, folder, best.candidate, below), encoding="utf-8")
    spread = f", spread over seeds {best.spread:.3g}" if options.seeds > 1 else ""
    print(f"layers    {best.candidate.layers}\nchannels  {best.candidate.channels}")
    print(f"score     {best.total:.6f} (semantic {best.semantic:.6f}, relation {best.relation:.6f}{spread})")
    if best.cost is not None:
        latency = "" if best.cost.latency_ms is None else f", {best.cost.latency_ms:.2f} ms"
        print(f"cost      {best.cost.parameters:,} parameters, {best.cost.flops:,} FLOPs{latency}")
    print(f"\nnext:     kdhub train {written}")
    return 0


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _searched(cfg: Any, name: str) -> tuple[dict[str, Any], int]:
    """Return the config of the student's model, and its number of stages."""
    from kdhub.api import UsageError, student_as_it_stands

    model = student_as_it_stands(cfg)["model"]
    net = model.get("net") if isinstance(model, dict) else None
    layers, channels = (net.get("layers"), net.get("channels")) if isinstance(net, dict) else (None, None)
    stages = len(layers) if isinstance(layers, list | tuple) else 0
    if not stages or not isinstance(channels, list | tuple) or len(channels) != stages:
        raise UsageError(
            "the student has no stages to search over",
            where=f"{name}: {'model.student.net' if 'student' in (cfg.get('model') or ()) else 'model.net'}",
            expected="a net with layers=[...] and channels=[...], one number a stage",
            got=repr(net)[:120],
        )
    return dict(model), stages


def _batch(cfg: Any, model: dict[str, Any], seed: int) -> tuple[Any, Any]:
    """Return images and labels of one batch of the training data, as the student gets them: the same for the same seed."""
    import random

    import numpy as np
    import torch
    from mmengine.registry import MODELS
    from mmengine.runner import Runner

    from kdhub.api import UsageError, preserved_randomness

    with preserved_randomness():
        # transforms draw from these; a search that goes on must score the same batch
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=seed)
        batch = MODELS.build(model).data_preprocessor(next(iter(loader)), training=False)
    if not isinstance(batch, dict) or batch.get("labels") is None:
        raise UsageError("the training data have no labels, and DisWOT needs them", where="train_dataloader")
    return batch["inputs"], batch["labels"]


def _fingerprint(cfg: Any) -> str:
    """Identify a config by its content: after an edit scores are of other networks, or of another batch."""
    from kdhub.api import config_text

    return hashlib.sha256(config_text(cfg).encode()).hexdigest()[:16]


def _batch_fingerprint(images: Any, labels: Any) -> str:
    """Identify a batch by its content: after another version of a library reads or transforms images, scores are of another batch."""
    digest = hashlib.sha256()
    for value in (images, labels):
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _net(model: Any) -> Any:
    from mmengine.registry import MODELS

    built = MODELS.build(model)
    return getattr(built, "kdhub_inner", built)


def _student_config(config: str, folder: Path, candidate: Any, below: bool) -> str:
    """Write a config of the winner; ``below`` says whether the net stands in ``model.student``, or in ``model`` itself."""
    base = os.path.relpath(config, folder) if Path(config).is_file() else config
    net = f"net=dict(layers={list(candidate.layers)}, channels={list(candidate.channels)})"
    return (
        "# written by `kdhub search-student`: the student that DisWOT ranks first\n"
        f"_base_ = [{base!r}]\n"
        f"model = dict({f'student=dict({net})' if below else net})\n"
    )
