"""A detector whose classes are names, as a plain one of mmdet: text embeddings become weights of layers that mmdet has."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from kddet.regions.names import NameBank
from kddet.regions.semantic_regressor import SemanticRegressor
from kddet.regions.text_classifier import TextClassifier
from kdhub.api import UsageError

OPEN = "open_vocabulary.safetensors"
"""What other names need, beside the exported student."""


def baked_config(model: Mapping[str, Any], head: Any) -> dict[str, Any]:
    """Return the config of the plain detector.

    Args:
        model: Config of a detector with a `TextClassifier`.
        head: Its box head.
    """
    plain = copy.deepcopy(dict(model))
    roi_head = plain["roi_head"] = dict(plain["roi_head"])
    roi_head["type"] = "StandardRoIHead"
    box_head = roi_head["bbox_head"] = dict(roi_head["bbox_head"])
    # the head's own: Shared2FCBBoxHead and its like have layers that no key names
    layers = ("shared_convs", "shared_fcs", "cls_convs", "cls_fcs", "reg_convs", "reg_fcs")
    box_head |= {f"num_{branch}": len(getattr(head, branch)) for branch in layers}
    box_head |= {
        "type": "ConvFCBBoxHead",
        "num_classes": len(head.fc_cls.embeddings),
        "num_cls_fcs": len(head.cls_fcs) + 1,
        "fc_out_channels": _width(head),
        "cls_predictor_cfg": {"type": "NormedLinear", "temperature": _temperature(head.fc_cls)},
    }
    if isinstance(head.fc_reg, SemanticRegressor):
        box_head["reg_predictor_cfg"] = {"type": "Linear"}
    return plain


@torch.no_grad()
def baked_weights(weights: Mapping[str, Tensor], head: Any, prefix: str = "roi_head.bbox_head.") -> dict[str, Tensor]:
    """Return the weights of the plain detector, whose scores and boxes are the same.

    A region's embedding ``z`` goes through a ReLU in mmdet's heads, so the added layer gives ``[relu(z), relu(−z)]``, of the same
    length. Against ``[e, −e]`` that is ``z·e``. `NormedLinear` divides by the length of each row: a column that meets a feature
    which is always 0 gives all rows one length, the background's too, whose length counts.

    Args:
        weights: State dict of the detector.
        head: Its box head.
        prefix: Where the box head is in it.
    """
    classifier: TextClassifier = head.fc_cls
    width, last = _width(head), len(head.cls_fcs)
    own = ("fc_cls.", "fc_reg.", "shared_fcs.", "cls_fcs.", "reg_fcs.")
    plain = {name: value for name, value in weights.items() if not name.startswith(tuple(prefix + one for one in own))}
    for branch in ("shared_fcs", "cls_fcs", "reg_fcs"):
        first = branch == "shared_fcs" or not len(head.shared_fcs)
        for number, layer in enumerate(getattr(head, branch)):
            # the first layer reads pooled features, all others what was widened
            columns = layer.in_features if first and number == 0 else width
            plain |= _linear(f"{prefix}{branch}.{number}", layer.weight, layer.bias, width, columns)
    to_text = classifier.map_to_text
    both = torch.cat((to_text.weight, -to_text.weight)), torch.cat((to_text.bias, -to_text.bias))
    columns = width if last or len(head.shared_fcs) else to_text.in_features
    plain |= _linear(f"{prefix}cls_fcs.{last}", *both, width, columns)
    rows = class_rows(classifier.embeddings, classifier.background, width)
    plain |= {f"{prefix}fc_cls.weight": rows, f"{prefix}fc_cls.bias": rows.new_zeros(len(rows))}
    if isinstance(head.fc_reg, SemanticRegressor):
        weight, bias = head.fc_reg.plain()
    else:
        weight, bias = head.fc_reg.weight, head.fc_reg.bias
    reads = width if len(head.reg_fcs) or len(head.shared_fcs) else weight.shape[1]
    plain |= _linear(f"{prefix}fc_reg", weight, bias, len(weight), reads)
    return plain


def class_rows(embeddings: Tensor, background: Tensor, width: int) -> Tensor:
    """Return the rows ``(C+1, width)`` of the plain last layer: ``[e, −e, …, pad]``, all of one length."""
    length = _length(background)
    directions = torch.cat((embeddings.to(background), background.unsqueeze(0)))
    rows = directions.new_zeros(len(directions), width)
    rows[:, : 2 * directions.shape[1]] = torch.cat((directions, -directions), 1)
    rows[:, -1] = (length**2 - 2 * directions.square().sum(1)).clamp(min=0).sqrt()
    return rows


def write_open(path: Path, head: Any, names: NameBank) -> None:
    """Write what `rename` needs beside the exported student."""
    classifier = head.fc_cls
    tensors = {"background": classifier.background, "embeddings": classifier.embeddings}
    if isinstance(head.fc_reg, SemanticRegressor):
        tensors["text_to_box"] = head.fc_reg.linear.weight[:, head.fc_reg.in_features :]
        tensors["box_bias"] = head.fc_reg.linear.bias
    metadata = {"names": json.dumps(names.names), "source": names.source}
    kept = {name: tensor.detach().cpu().float().contiguous() for name, tensor in tensors.items()}
    save_file(kept, path / OPEN, metadata)


def source_of(folder: Path) -> str:
    """Say which text model the names of an exported student were embedded by.

    Raises:
        UsageError: If the student's classes are no names.
    """
    return _opened(folder)[1].get("source", "")


@torch.no_grad()
def rename(detector: nn.Module, folder: Path, bank: NameBank) -> None:
    """Give an exported student, loaded by mmdet, other class names in place.

    Args:
        detector: What ``init_detector`` returned.
        folder: Where the student was exported to.
        bank: The names, embedded by the model that `source_of` names.

    Raises:
        UsageError: If the student's classes are no names, or the embeddings are of another width.
    """
    kept, _ = _opened(folder)
    if bank.embeddings.shape[1] != kept["embeddings"].shape[1]:
        raise UsageError(
            "the names are those of another text model",
            expected=f"embeddings of width {kept['embeddings'].shape[1]}",
            got=str(bank.embeddings.shape[1]),
        )
    head: Any = detector.get_submodule("roi_head.bbox_head")
    rows = class_rows(bank.embeddings, kept["background"], head.fc_cls.in_features).to(head.fc_cls.weight)
    head.fc_cls.weight, head.fc_cls.bias = nn.Parameter(rows), nn.Parameter(rows.new_zeros(len(rows)))
    head.fc_cls.out_features = len(rows)
    if "text_to_box" in kept:
        shared = head.fc_reg.weight[: len(kept["box_bias"])]
        bias = kept["box_bias"] + bank.embeddings @ kept["text_to_box"].T
        head.fc_reg.weight = nn.Parameter(shared.repeat(len(bank.names), 1))
        head.fc_reg.bias = nn.Parameter(bias.flatten().to(shared))
        head.fc_reg.out_features = head.fc_reg.weight.shape[0]
    head.num_classes = len(bank.names)
    detector.dataset_meta = {"classes": bank.names}  # type: ignore[assignment]


def _opened(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    file = folder / OPEN
    if not file.is_file():
        raise UsageError(
            "the student has classes of its own, and no names to replace",
            where=str(folder),
            expected=f"{OPEN}, of a student with a kddet.TextClassifier",
            fix="leave --names out",
        )
    with safe_open(file, "pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}, dict(opened.metadata() or {})  # noqa: SIM118


def _width(head: Any) -> int:
    """Return how wide all layers of the plain head are: room for both signs of an embedding, and one zero."""
    given = max([layer.out_features for layer in (*head.shared_fcs, *head.cls_fcs, *head.reg_fcs)], default=0)
    return max(given, 2 * head.fc_cls.embeddings.shape[1] + 1)


def _length(background: Tensor) -> float:
    return math.sqrt(2) * max(1.0, float(torch.linalg.vector_norm(background.detach().float())))


def _temperature(classifier: TextClassifier) -> float:
    return float(classifier.scale.detach().exp()) * _length(classifier.background.detach())


def _linear(name: str, weight: Tensor, bias: Tensor, rows: int, columns: int) -> dict[str, Tensor]:
    """Pad a layer with zeros to a size."""
    wide = weight.new_zeros(rows, columns)
    wide[: weight.shape[0], : weight.shape[1]] = weight
    long = bias.new_zeros(rows)
    long[: len(bias)] = bias
    return {f"{name}.weight": wide, f"{name}.bias": long}
