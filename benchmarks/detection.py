"""What kddet's parts cost, in processor time: EZAD's step over the same detector's, crops in batches over one by one, a classifier of names over a plain one.

``step``: forward, backward and update of EZAD's detector on regions that are in the batch, against the same detector without regions.
``crops``: the stand-in embeds 64 crops in one batch, against one after the other; both must give the same. ``inference``: the detector with
names for classes, and as it is exported, against one with mmdet's own linear layers, on one image. Pixels, boxes and weights are random. Variants take
turns in random order; the median of the ratios round by round is quoted with its quartiles.

Usage: python benchmarks/detection.py [step crops inference] [--rounds 8] [--side 192] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
from losses import require_equal  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmengine.config import ConfigDict  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402
from torch.nn import functional  # noqa: E402

from kddet.losses.regions import RegionEmbeddingKD  # noqa: E402
from kddet.regions.baked import baked_config, baked_weights  # noqa: E402
from kddet.regions.image_text import STAND_IN, load_image_text  # noqa: E402
from kddet.regions.names import NameBank  # noqa: E402
from kdhub.config import load_config  # noqa: E402
from kdhub.registry import init  # noqa: E402

PARTS = ["step", "crops", "inference"]
BATCH, REGIONS, WIDTH = 4, 48, 384


def in_turns(variants: dict[str, Callable[[], object]], over: str, rounds: int) -> dict[str, Any]:
    """Time the variants in turns; return the ratio of each other one to ``over``."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    chance = random.Random(0)
    for number in range(rounds + 1):
        for name in chance.sample([*variants], len(variants)):
            begin = time.process_time()
            variants[name]()
            if number:
                seconds[name].append(time.process_time() - begin)
    found: dict[str, Any] = {"ms": {name: 1e3 * statistics.median(own) for name, own in seconds.items()}}
    for name in variants:
        if name != over:
            low, middle, high = statistics.quantiles([a / b for a, b in zip(seconds[name], seconds[over], strict=True)])
            found[name] = {"ratio": middle, "quartiles": [low, high]}
    return found


def student_config(bank: str) -> Any:
    student = load_config("kddet:ezad").model.student
    student.backbone.pop("init_cfg")
    head = student.roi_head.bbox_head
    head.cls_predictor_cfg.names = head.reg_predictor_cfg.names = bank
    return student


def bank_in(folder: str) -> str:
    names = load_config("kddet:ezad").names
    vectors = functional.normalize(torch.randn(len(names), WIDTH, generator=torch.Generator().manual_seed(0)), dim=1)
    NameBank(tuple(names), vectors, "").save(Path(folder) / "names.safetensors")
    return str(Path(folder) / "names.safetensors")


def built(config: Any) -> Any:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(ConfigDict(config))


def sample_of(side: int) -> DetDataSample:
    sample = DetDataSample(metainfo={"img_shape": (side, side), "ori_shape": (side, side), "scale_factor": (1.0, 1.0)})
    boxes = torch.rand(8, 2) * side / 2
    sample.gt_instances = InstanceData(
        bboxes=torch.cat((boxes, boxes + side / 4), 1), labels=torch.zeros(8, dtype=torch.long)
    )
    return sample


def step(rounds: int, side: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        detector = built(student_config(bank_in(folder))).train()
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-6)
    loss = RegionEmbeddingKD()
    images = [torch.randint(0, 256, (3, side, side), dtype=torch.uint8) for _ in range(BATCH)]
    corners = torch.rand(REGIONS, 2) * side / 2
    regions = InstanceData(bboxes=torch.cat((corners, corners + side / 4), 1))
    teacher, weights = torch.randn(BATCH * REGIONS, WIDTH), torch.ones(BATCH * REGIONS)
    index = torch.arange(BATCH).repeat_interleave(REGIONS)

    def run(distilled: bool) -> None:
        samples = [sample_of(side) for _ in images]
        batch = detector.data_preprocessor({"inputs": images, "data_samples": samples}, True)
        seen: list[torch.Tensor] = []
        if distilled:
            for sample in batch["data_samples"]:
                sample.regions = regions
            own = detector.roi_head.region_embeddings
            detector.roi_head.region_embeddings = lambda *given: seen.append(own(*given))
        total, _ = detector.parse_losses(detector(**batch, mode="loss"))
        if distilled:
            del detector.roi_head.region_embeddings
            total = total + loss(seen[0], teacher, weights, index)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()

    return in_turns({"alone": lambda: run(False), "EZAD": lambda: run(True)}, "alone", rounds)


@torch.no_grad()
def crops(rounds: int, side: int) -> dict[str, Any]:
    model = load_image_text(STAND_IN)
    pixels = torch.randint(0, 256, (64, 3, model.size, model.size), dtype=torch.uint8)
    together = model.images(pixels)
    apart = torch.cat([model.images(one) for one in pixels.split(1)])
    names = {"batch": together.abs().mean().item(), "one by one": apart.abs().mean().item()}
    require_equal("crops", names, "one by one", {"batch": 1e-4})
    variants = {
        "batch": lambda: model.images(pixels),
        "one by one": lambda: [model.images(one) for one in pixels.split(1)],
    }
    return in_turns(variants, "batch", max(2, rounds // 2))


@torch.no_grad()
def inference(rounds: int, side: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        config = student_config(bank_in(folder))
        named = built(config).eval()
    baked = baked_config(config, named.roi_head.bbox_head)
    exported = built(baked).eval()
    exported.load_state_dict(baked_weights(named.state_dict(), named.roi_head.bbox_head))
    head = config.roi_head.bbox_head
    head.cls_predictor_cfg = head.reg_predictor_cfg = ConfigDict(type="Linear")
    config.roi_head.type = "StandardRoIHead"
    plain = built(config).eval()
    image = torch.randint(0, 256, (3, side, side), dtype=torch.uint8)
    # 300 regions, whatever the first stage finds; the suppression of what they are is left out, as it depends on random scores
    corners = torch.rand(300, 2) * side / 2
    rois = torch.cat((torch.zeros(300, 1), corners, corners + side / 4), 1)

    def of(model: Any) -> Callable[[], object]:
        batch = model.data_preprocessor({"inputs": [image], "data_samples": [sample_of(side)]}, False)

        def run() -> None:
            features = model.extract_feat(batch["inputs"])
            model.rpn_head.predict(features, batch["data_samples"], rescale=False)
            model.roi_head._bbox_forward(features, rois)

        return run

    return in_turns({"plain": of(plain), "names": of(named), "exported": of(exported)}, "plain", rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", default=PARTS, help="what to measure (default all)")
    parser.add_argument("--rounds", type=int, default=8, help="timed rounds, at least 2 (default 8)")
    parser.add_argument("--side", type=int, default=192, help="side of the images (default 192)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    torch.set_num_threads(1)
    init()
    found = {
        name: {"step": step, "crops": crops, "inference": inference}[name](args.rounds, args.side)
        for name in args.parts
    }
    if args.json:
        print(json.dumps(found))
        return
    for name, row in found.items():
        for variant, one in row.items():
            if variant != "ms":
                low, high = one["quartiles"]
                print(f"{name}: {variant} takes {one['ratio']:.3f} ({low:.3f} to {high:.3f}), ms {row['ms']}")


if __name__ == "__main__":
    main()
