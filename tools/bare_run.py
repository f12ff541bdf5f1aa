"""One run of an experiment as a bare loop in this process: what `tools/evidence.py --bare` trains and measures.

Student, objectives, optimizer, schedule, data and metrics are those of the config, and a stored teacher answers from its store. What
`kdhub train` adds is left out: checkpoints, reports, resuming, checks of the store against the live teacher. Images are loaded once and
stay in memory, in the augmentations that the store holds, so many short runs cost little more than their steps.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, METRICS, MODELS, PARAM_SCHEDULERS, DefaultScope
from mmengine.runner import set_random_seed
from torch import Tensor

from kdhub.engine.resume.data_identity import data_fingerprint
from kdhub.engine.resume.sampling import KeyedDataset, SampleKey
from kdhub.errors import UsageError
from kdhub.store import StoreReader


class Images:
    """A data set in memory.

    Attributes:
        inputs: ``(draws, samples, ...)``.
        labels: ``(draws, samples, ...)``; soft ones where images are mixed.
        indexed: Whether samples say their place, as those of `kdcls.Indexed`.
        classes: Names.
    """

    def __init__(self, dataset: Any, seed: int, draws: int) -> None:
        keyed = KeyedDataset(dataset, seed)
        passes = [[keyed[SampleKey(index, draw)] for index in range(len(dataset))] for draw in range(draws)]
        self.inputs = torch.stack([torch.stack([one["inputs"] for one in samples]) for samples in passes])
        self.labels = torch.stack(
            [torch.stack([torch.as_tensor(one["labels"]) for one in samples]) for samples in passes]
        )
        self.indexed = "index" in passes[0][0]
        self.classes = tuple(dataset.metainfo.get("classes", ()))


def _loaded(dataset: Any, seed: int, draws: int) -> Images:
    key = json.dumps([dataset.to_dict(), seed, draws], sort_keys=True)
    if key not in _LOADED:
        _LOADED[key] = Images(DATASETS.build(copy.deepcopy(dataset)), seed, draws)
    return _LOADED[key]


_LOADED: dict[str, Images] = {}


def measured(cfg: Any, test: bool, draws: int) -> dict[str, float]:
    """Train a config and evaluate it.

    Args:
        cfg: The config with its seed; iterations, not epochs.
        test: Whether the test data are evaluated, and not the validation data.
        draws: Augmentations of each image that are loaded and shown in turn.

    Returns:
        The metrics.

    Raises:
        UsageError: If the config has what such a loop would leave out, or the store holds another number of augmentations: the figures would
            be another experiment's.
    """
    _require_plain(cfg)
    MMLogger.get_current_instance().setLevel("ERROR")
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmengine"):
        set_random_seed(cfg.randomness.seed)
        model = MODELS.build(_without_live_teacher(cfg.model))
        _train(model, cfg, draws)
        return _evaluate(model, cfg, "test" if test else "val")


def _require_plain(cfg: Any) -> None:
    left_out = []
    if cfg.train_cfg.get("by_epoch"):
        left_out.append("train_cfg.by_epoch")
    left_out += [f"param_scheduler.{place}.by_epoch" for place, one in _schedules(cfg) if one.get("by_epoch", True)]
    sampler = cfg.train_dataloader.get("sampler") or {}
    if sampler.get("type") != "DefaultSampler" or not sampler.get("shuffle", True):
        left_out.append("train_dataloader.sampler")
    if not cfg.train_dataloader.get("drop_last"):
        left_out.append("train_dataloader.drop_last")
    if cfg.optim_wrapper.get("type", "OptimWrapper") != "OptimWrapper":
        left_out.append("optim_wrapper.type")
    left_out += [key for key in ("custom_hooks", "load_from") if cfg.get(key)]
    student = cfg.model.get("student", cfg.model)
    left_out += [
        f"{place}.init_cfg" for place, one in (("model", cfg.model), ("student", student)) if one.get("init_cfg")
    ]
    if left_out:
        raise UsageError(
            "a bare run shuffles, leaves out the last, smaller batch, counts iterations, trains in float32 from the weights of"
            " construction, and calls no hook",
            where=", ".join(left_out),
            fix="leave out --bare, or these keys",
        )


def _schedules(cfg: Any) -> Iterator[tuple[int, Any]]:
    schedules = cfg.get("param_scheduler") or ()
    return enumerate([schedules] if isinstance(schedules, Mapping) else schedules)


def _without_live_teacher(model: Any) -> Any:
    model = copy.deepcopy(model)
    if "teacher" in model:
        model.teacher.teacher = None
    return model


def _train(model: Any, cfg: Any, draws: int) -> None:
    teacher = cfg.model.get("teacher")
    dataset = cfg.train_dataloader.dataset
    seed = 0
    if teacher:
        manifest = StoreReader(teacher.store).manifest
        seed = manifest.seed or 0
        if manifest.data != data_fingerprint(DATASETS.build(copy.deepcopy(dataset))):
            raise UsageError(
                "the store holds answers for other samples",
                where=teacher.store,
                expected="those of train_dataloader.dataset",
                fix="name the store of these data in model.teacher.store",
            )
        if manifest.draws != draws:
            raise UsageError(
                "the store holds another number of augmentations",
                where=teacher.store,
                expected=f"{draws}, as --bare says",
                got=str(manifest.draws),
            )
    data = _loaded(dataset, seed, draws)
    wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    schedules = [PARAM_SCHEDULERS.build({**one, "optimizer": wrapper}) for _, one in _schedules(cfg)]
    order = torch.Generator().manual_seed(cfg.randomness.seed)
    size, step, turn = cfg.train_dataloader.batch_size, 0, 0
    model.train()
    while step < cfg.train_cfg.max_iters:
        draw = turn % len(data.inputs)
        turn += 1
        for places in torch.randperm(data.inputs.shape[1], generator=order).split(size):
            if len(places) < size or step == cfg.train_cfg.max_iters:
                continue
            raw = {"inputs": data.inputs[draw, places], "labels": data.labels[draw, places]}
            if data.indexed:
                raw["index"] = places
            losses = _losses(model, raw, [(int(i), draw) for i in places])
            total, _ = model.parse_losses(losses)
            wrapper.update_params(total)
            for one in schedules:
                one.step()
            step += 1


def _losses(model: Any, raw: Mapping[str, Tensor], keys: list[tuple[int, int]]) -> Mapping[str, Any]:
    if not hasattr(model, "student"):
        return model(**model.data_preprocessor(raw, True), mode="loss")
    batch = model.student.data_preprocessor(raw, True)
    return model(batch, {name: [SampleKey(*key) for key in keys] for name in model.teachers}, mode="loss")


@torch.no_grad()
def _evaluate(model: Any, cfg: Any, part: str) -> dict[str, float]:
    student = getattr(model, "student", model).eval()
    data = _loaded(cfg[f"{part}_dataloader"].dataset, 0, 1)
    metric = METRICS.build(cfg[f"{part}_evaluator"])
    metric.dataset_meta = {"classes": data.classes}
    for inputs, labels in zip(data.inputs[0].split(256), data.labels[0].split(256), strict=True):
        metric.process(None, student.test_step({"inputs": inputs, "labels": labels}))
    return dict(metric.evaluate(data.inputs.shape[1]))
