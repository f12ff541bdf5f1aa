"""Figures of the OOD rivals that train nothing: Mahalanobis' distance and the nearest neighbour, on embeddings of sentences.

Embeddings are the mean of a frozen encoder's last hidden states over the tokens. Both scores know only embeddings of training texts in
distribution, and no label. Brackets are 95 % intervals over test texts, drawn anew within each class (1000 draws): nothing else varies here.

Example:
    python tools/ood_evidence.py configs/ood/mlkd_gpt2-4x64_200it_clinc150.py --model data/evidence/minilm
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from kdhub.config import load_config
from kdhub.errors import KdhubError
from kdhub.registry import init
from kdlm.tokenizer import load_tokenizer
from kdood.data import OODTexts
from kdood.figures import bootstrap_intervals, ood_figures
from kdood.scores import KNearest, Mahalanobis, mean_pooled

NAMES = ("auroc", "aupr_out", "aupr_in", "far95")
Row = dict[str, tuple[float, float, float]]


def main(argv: list[str] | None = None) -> int:
    """Embed the texts of a config and print a row for each score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="its train_dataloader has the texts in distribution, its test_dataloader both")
    parser.add_argument("--model", required=True, help="folder of an encoder of transformers, or its name on the hub")
    parser.add_argument("--texts", type=int, default=3000, help="training texts, evenly from all (default 3000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)
    try:
        cfg = load_config(args.config, ())
        init()
        train, test = (_texts(cfg, part) for part in ("train", "test"))
        count = min(args.texts, len(train))
        known = [train.texts[place * len(train) // count] for place in range(count)]
        flags = [bool(test[place]["ood"]) for place in range(len(test))]
        found = rows(embedded(known, args.model), embedded(test.texts, args.model), flags)
    except KdhubError as error:
        print(f"ood_evidence: error: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(found))
        return 0
    print(f"| {count} training texts, {len(test)} test texts | {' | '.join(NAMES)} |", "|---" * 5 + "|", sep="\n")
    for name, row in found.items():
        print(f"| {name} | {' | '.join(f'{value:.1f} [{a:.1f}, {b:.1f}]' for value, a, b in row.values())} |")
    return 0


def rows(known: Tensor, asked: Tensor, is_ood: Sequence[bool]) -> dict[str, Row]:
    """Score test texts by training texts.

    Args:
        known: Embeddings (N, D) of training texts in distribution.
        asked: Embeddings (M, D) of test texts.
        is_ood: Whether each of these is out of distribution.

    Returns:
        Score to figure to value, lower and upper end of its interval, in percent.
    """
    found = {}
    for name, score in (("Mahalanobis", Mahalanobis(known)), ("nearest neighbour", KNearest(known))):
        scores = score(asked).tolist()
        values, ends = ood_figures(scores, is_ood), bootstrap_intervals(scores, is_ood)
        found[name] = {figure: (values[figure], *ends[figure]) for figure in NAMES}
    return found


@torch.inference_mode()
def embedded(texts: Sequence[str], model: str, batch_size: int = 64, max_length: int = 48) -> Tensor:
    """Embed texts: (N, D)."""
    from transformers import AutoModel

    tokenizer, encoder = load_tokenizer(model), AutoModel.from_pretrained(model).eval()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))  # so that little is padding
    parts: dict[int, Tensor] = {}
    for begin in range(0, len(order), batch_size):
        places = order[begin : begin + batch_size]
        batch = tokenizer(
            [texts[place] for place in places],
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=max_length,
        )
        pooled = mean_pooled(encoder(**batch).last_hidden_state, batch["attention_mask"])
        parts |= dict(zip(places, pooled, strict=True))
    return torch.stack([parts[place] for place in range(len(texts))])


def _texts(cfg: Any, part: str) -> OODTexts:
    from mmengine.registry import DATASETS

    data: OODTexts = DATASETS.build(cfg[f"{part}_dataloader"].dataset)
    return data


if __name__ == "__main__":
    sys.exit(main())
