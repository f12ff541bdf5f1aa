"""The job `kddet.Propose`: regions that an image-text model finds worth teaching, with their embeddings (EZAD, stage B)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kddet.regions.crops import ENLARGED, LEAST, Boxes, crops, read_image
from kddet.regions.image_text import ImageTextModel, load_image_text
from kddet.regions.names import NameBank
from kddet.regions.proposals import RATIOS, SCALES, STRIDE, anchors, away_from, confidence, propose
from kddet.regions.region_files import CHUNK, NAMES, Regions, finish, part_file, read_part, write_part
from kddet.regions.rpn import Detector
from kdhub.api import Progress, UsageError, choice, integer, number, require

_ANCHOR = 32
"""Side in pixels of an anchor of scale 1, whatever the distance of the centres."""


@dataclass(frozen=True)
class Rules:
    """What is laid over an image, and what of it is kept; see `propose_regions`."""

    by: str
    scale: tuple[float, float]
    stride: int
    scales: tuple[float, ...]
    ratios: tuple[float, ...]
    candidates: int
    keep: int
    novel_only: bool
    batch_size: int


def propose_regions(
    folder: Path,
    model: str,
    ann_file: str,
    images: str,
    base: Sequence[str],
    names: Sequence[str],
    by: str = "confidence",
    detector: str | None = None,
    scale: Sequence[float] = (1333, 800),
    stride: int = STRIDE,
    scales: Sequence[float] = SCALES,
    ratios: Sequence[float] = RATIOS,
    candidates: int = 1000,
    keep: int = 300,
    novel_only: bool = True,
    batch_size: int = 64,
) -> dict[str, Any]:
    """Score anchors of each image by how sure a model is of one name; keep embeddings of the best, and of the base boxes.

    Boxes of other than base classes are never looked at: they would say where novel objects are.
    Each file of 32 images is written when it is done; after a stop the job goes on behind it.

    Args:
        folder: Folder of the job.
        model: As of `kddet.regions.image_text.load_image_text`; the student of stage A.
        ann_file: Annotations in COCO's format.
        images: Folder that their ``file_name`` is below.
        base: The classes whose boxes are known.
        names: All names that crops are compared with, base classes among them. Their embeddings are written beside, for the detector.
        by: What chooses proposals. ``'confidence'`` of the model, as in EZAD. Rivals, of which each proposal weighs 1: ``'rpn'`` takes those
            that a detector is surest of, as ViLD does, and ``'random'`` draws anchors, by the place of the image alone. Give them
            ``novel_only=False`` to keep all.
        detector: For ``by='rpn'``: the ``student`` folder of a two-stage detector, trained on base boxes.
        scale: Longest and shortest side that an image is brought to for its anchors.
        stride: Distance of the anchors' centres. Twice of it makes a quarter of the crops.
        scales: Sides of anchors, in 32 pixels.
        ratios: Their height over width.
        candidates: How many are embedded, best first.
        keep: How many of these are kept.
        novel_only: Whether those are dropped whose likeliest name is a base class, as on COCO.
        batch_size: Crops of one pass of the model.

    Returns:
        ``images``, ``base_boxes``, ``proposals``, and ``without``: how many images have no proposal.

    Raises:
        UsageError: For a base class that is not among the names, files that cannot be read, a detector without an RPN, or a folder that
            another model began.
    """
    require("Propose", choice(("confidence", "rpn", "random")), by=by)
    if (by == "rpn") != (detector is not None):
        raise UsageError("a detector goes with by='rpn', and with nothing else", where="job.detector", got=repr(by))
    require("Propose", integer(1), stride=stride, candidates=candidates, keep=keep, batch_size=batch_size)
    for side in scale:
        require("Propose", number(above=0), scale=side)
    for name in base:
        if name not in names:
            raise UsageError("a base class is not among the names", where="job.names", got=repr(name))
    found = Boxes(ann_file, base)
    teacher = load_image_text(model).eval().to("cuda" if torch.cuda.is_available() else "cpu")
    bank = _same_bank(
        Path(folder, NAMES), teacher.bank(names, str(Path(model).resolve()) if Path(model).exists() else model)
    )
    longest, shortest = scale
    rules = Rules(
        by, (longest, shortest), stride, tuple(scales), tuple(ratios), candidates, keep, novel_only, batch_size
    )
    found_by = Detector(detector) if detector else None
    labels = torch.tensor([list(names).index(name) for name in base], dtype=torch.long)
    order = list(found.images)
    counts = {"images": len(order), "base_boxes": 0, "proposals": 0, "without": 0}
    with Progress("proposals", len(order), unit="images") as progress:
        for first in range(0, len(order), CHUNK):
            file = part_file(folder, first // CHUNK)
            places = range(first, min(first + CHUNK, len(order)))
            if not file.exists():
                part = {}
                for place in places:
                    path = Path(images, found.images[order[place]]["file_name"])
                    pixels = read_image(path)
                    boxes, own = found.of(order[place])
                    if found_by is not None:
                        chosen, scores = (best[:candidates] for best in found_by.proposals(path))
                    else:
                        chosen, scores = _from_anchors(teacher, bank.embeddings, pixels, rules, place)
                    part[place] = regions_of(
                        teacher, bank.embeddings, pixels, boxes, labels[own], labels, chosen, scores, rules
                    )
                write_part(file, part)
            for place in places:
                base_boxes = read_part(file, place).base
                proposals = int((~base_boxes).sum())
                counts["base_boxes"] += int(base_boxes.sum())
                counts["proposals"] += proposals
                counts["without"] += not proposals
            progress.reach(places.stop)
    finish(folder, order)
    return counts


@torch.no_grad()
def _from_anchors(
    model: ImageTextModel, text: Tensor, pixels: Tensor, rules: Rules, place: int
) -> tuple[Tensor, Tensor]:
    """Lay anchors over an image and choose some, best first: boxes in pixels of the file ``(n, 4)``, and their scores ``(n,)``."""
    height, width = pixels.shape[1:]
    factor = min(rules.scale[0] / max(height, width), rules.scale[1] / min(height, width))
    size = [max(1, round(side * factor)) for side in (height, width)]
    resized = functional.interpolate(pixels[None].float(), size, mode="bilinear", antialias=True)[0].round().byte()
    wide = [scale * _ANCHOR / rules.stride for scale in rules.scales]
    laid = anchors(*size, stride=rules.stride, scales=wide, ratios=rules.ratios)
    if rules.by == "random":
        scores = torch.rand(len(laid), generator=torch.Generator().manual_seed(place))
    else:
        _, q = _seen(model, text, resized, laid, rules, 1.0, 0)
        scores = confidence(q)
    chosen, places = propose(laid, scores, *size, limit=rules.candidates)
    return chosen * chosen.new_tensor([width / size[1], height / size[0]] * 2), scores[places]


@torch.no_grad()
def regions_of(
    model: ImageTextModel,
    text: Tensor,
    pixels: Tensor,
    boxes: Tensor,
    labels: Tensor,
    base: Tensor,
    chosen: Tensor,
    scores: Tensor,
    rules: Rules,
) -> Regions:
    """Keep and embed the regions of one image.

    Args:
        model: Embeds crops.
        text: Embeddings of all names ``(C, D)``.
        pixels: The image ``(3, H, W)``, bytes.
        boxes: Its base boxes ``(g, 4)``.
        labels: Their places among the names ``(g,)``.
        base: Places of all base classes among the names.
        chosen: Proposals ``(n, 4)`` in pixels of the file, best first.
        scores: Why they were chosen ``(n,)``.
        rules: What is kept.
    """
    away = away_from(chosen, boxes)
    chosen, scores = chosen[away], scores[away]
    embeddings, q = _seen(model, text, pixels, torch.cat((boxes, chosen)), rules, ENLARGED, LEAST)
    truth, own = embeddings[: len(boxes)], embeddings[len(boxes) :]
    weights, named = q[len(boxes) :].max(1) if len(q) else (q.new_zeros(0), labels.new_zeros(0))
    if rules.by != "confidence":
        weights = torch.ones_like(weights)
    kept = ~torch.isin(named, base) if rules.novel_only else torch.ones_like(named, dtype=torch.bool)
    rows = kept.nonzero().squeeze(1)[: rules.keep]
    return Regions(
        boxes=torch.cat((boxes, chosen[rows])),
        embeddings=torch.cat((truth, own[rows])),
        weights=torch.cat((torch.ones(len(boxes)), weights[rows])),
        scores=torch.cat((torch.zeros(len(boxes)), scores[rows])),
        names=torch.cat((labels, named[rows])),
        base=torch.arange(len(boxes) + len(rows)) < len(boxes),
    )


def _seen(
    model: ImageTextModel, text: Tensor, pixels: Tensor, boxes: Tensor, rules: Rules, enlarge: float, least: int
) -> tuple[Tensor, Tensor]:
    """Embed crops and name them: ``(n, D)``, and probabilities ``(n, C)`` in float32."""
    embeddings, probabilities = [text.new_zeros(0, text.shape[1])], [text.new_zeros(0, len(text))]
    device = next(model.parameters()).device
    for part in boxes.split(rules.batch_size):
        embedded = model.images(crops(pixels, part, model.size, enlarge, least).to(device)).float()
        cosines = functional.normalize(embedded, dim=1) @ text.to(device).T
        probabilities.append((model.logit_scale.float().exp() * cosines).softmax(1).cpu())
        embeddings.append(embedded.cpu())
    return torch.cat(embeddings), torch.cat(probabilities)


def _same_bank(file: Path, bank: NameBank) -> NameBank:
    """Write the names, or see that the job began with the same ones."""
    if not file.exists():
        bank.save(file)
        return bank
    before = NameBank.read(file)
    if before.names != bank.names or not torch.allclose(before.embeddings, bank.embeddings, atol=1e-4):
        raise UsageError(
            "the job was begun with another model or other names", where=str(file.parent), fix="move the folder away"
        )
    return before
