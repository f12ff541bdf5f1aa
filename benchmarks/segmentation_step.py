"""How much of a whole training step BPKD takes, masks included, and what it adds to the step of the student alone.

The recipe `kdseg:camvid-small` with random weights and images: EfficientNet-Lite2 teaches EfficientNet-Lite0, 8 crops of
160x224. Steps of the student alone, of BPKD and the bare loss, forward and backward, are interleaved; medians.

Usage: python benchmarks/segmentation_step.py [--rounds 15] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from mmengine.optim import OptimWrapper  # noqa: E402
from mmengine.registry import MODELS, DefaultScope  # noqa: E402
from mmengine.structures import PixelData  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

import kdhub  # noqa: E402
from kdhub.config import load_config  # noqa: E402
from kdhub.rng import preserved_randomness  # noqa: E402

CROP = (160, 224)


def batch(images: int) -> dict[str, Any]:
    """Random images and blocks of classes, as a data loader of mmseg gives them."""
    samples = []
    for _ in range(images):
        blocks = (
            torch.randint(0, 11, (1, CROP[0] // 16, CROP[1] // 16)).repeat_interleave(16, 1).repeat_interleave(16, 2)
        )
        sample = SegDataSample()
        sample.gt_sem_seg = PixelData(data=blocks)
        samples.append(sample)
    inputs = [torch.randint(0, 256, (3, *CROP), dtype=torch.uint8) for _ in range(images)]
    return {"inputs": inputs, "data_samples": samples}


def model_and_student() -> tuple[torch.nn.Module, torch.nn.Module]:
    cfg = load_config("kdseg:camvid-small")
    teacher = load_config(cfg.model.teacher.model).model
    teacher.backbone.init_cfg = None
    cfg.model.teacher.update(model=teacher, checkpoint=None)
    cfg.model.student.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope("mmseg"):
        return MODELS.build(cfg.model), MODELS.build(cfg.model.student)


def timed(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    kdhub.init()
    torch.manual_seed(0)
    model, student = model_and_student()
    loss = model.objectives["boundary"].loss
    seen: dict[str, torch.Tensor] = {}
    handle = loss.register_forward_pre_hook(lambda _, inputs, named: seen.update(named), with_kwargs=True)

    def trainer(one: torch.nn.Module) -> Callable[[], object]:
        wrapper = OptimWrapper(torch.optim.AdamW(one.parameters(), lr=1e-4))
        return lambda: one.train().train_step(batch(8), wrapper)

    distilled, alone = trainer(model), trainer(student)
    distilled(), alone()
    handle.remove()
    # the memory of masks knows tensors by identity: a clone makes them again
    logits, answer, labels = (seen[name].detach() for name in ("student_logits", "teacher_logits", "labels"))

    def bare() -> None:
        terms = loss(
            student_logits=logits.clone().requires_grad_(), teacher_logits=answer, labels=labels.clone()
        ).values()
        sum(terms).backward()

    with preserved_randomness():
        rounds = [{"alone": timed(alone), "bpkd": timed(distilled), "loss": timed(bare)} for _ in range(args.rounds)]
    found = {
        "share of the loss in the step": statistics.median(one["loss"] / one["bpkd"] for one in rounds),
        "step against the student alone": statistics.median(one["bpkd"] / one["alone"] for one in rounds),
        "milliseconds a step": 1000 * statistics.median(one["bpkd"] for one in rounds),
    }
    print(json.dumps(found) if args.json else "\n".join(f"{name}: {value:.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
