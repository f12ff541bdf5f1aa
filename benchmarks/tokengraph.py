"""TRG's loss and its terms, forward and backward, against one n x n product with top-k and softmax.

The measure is what any loss over all pairs of tokens pays: ``x @ x.T``, its k largest entries by rows, its softmax, and the
gradient of both: three products. TRG needs four: neighbours of both sides, cosines, and the gradient of these. ``local, dense`` is the
local term as one would write it down, with n x n matrices on both sides; it must give the same value. Each round runs every variant once, in random
order; quoted is the median of the ratios round by round, with its quartiles.

Usage: python benchmarks/tokengraph.py [--images 64] [--tokens 16] [--width 512] [--rounds 30] [--threads 1] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable

import torch
from figures import median_ms
from losses import require_equal
from torch import Tensor
from torch.nn import functional

from kdtrg.losses.context_graph import ContextGraph
from kdtrg.losses.global_contrast import GlobalContrast
from kdtrg.losses.local_graph import LocalGraph
from kdtrg.losses.trg import TRGLoss

Loss = Callable[[Tensor, Tensor], Tensor]
NEIGHBOURS = 8
REFERENCE = "one product"


def one_product(student: Tensor, teacher: Tensor) -> Tensor:
    tokens = student.flatten(0, 1)
    scores = tokens @ tokens.T
    return scores.topk(NEIGHBOURS).values.mean() + scores.softmax(1).square().sum(1).mean()


def dense_local(student: Tensor, teacher: Tensor) -> Tensor:
    logs = []
    for side in (student, teacher):
        tokens = functional.normalize(side.flatten(0, 1), dim=1)
        squared = (2 - 2 * tokens @ tokens.T).clamp(min=0).fill_diagonal_(torch.inf)
        chosen = squared.topk(NEIGHBOURS, dim=0, largest=False).indices
        adjacency = torch.zeros_like(squared).scatter(0, chosen, torch.exp(-squared.gather(0, chosen) / 2))
        logs.append(adjacency.log_softmax(1))
    return functional.kl_div(*logs, reduction="batchmean", log_target=True)


def variants(width: int) -> dict[str, Loss]:
    widths = {"in_features": width, "out_features": width}

    def trg(**options: int) -> Loss:
        loss = TRGLoss(k=NEIGHBOURS, rescale="unit", **options)
        return lambda student, teacher: torch.stack([*loss(student, teacher).values()]).sum()

    return {
        REFERENCE: one_product,
        "TRG": trg(),
        "TRG, projected": trg(**widths),
        "TRG, chunks of 256": trg(chunk=256),
        "local": LocalGraph(k=NEIGHBOURS),
        "local, dense": dense_local,
        "global": GlobalContrast(),
        "context": ContextGraph(rescale="unit"),
    }


def step(loss: Loss, student: Tensor, teacher: Tensor) -> None:
    student.grad = None
    loss(student, teacher).backward()


def measure(images: int, tokens: int, width: int, rounds: int) -> dict[str, list[float]]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(images, tokens, width, generator=generator) for _ in range(2))
    student.requires_grad_()
    losses = variants(width)
    with torch.no_grad():
        values = {name: float(losses[name](student, teacher)) for name in ("local", "local, dense")}
    require_equal("tokengraph", values, "local, dense", {"local": 1e-4})
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    chance = random.Random(0)
    warm_up = 3
    for number in range(rounds + warm_up):
        for name in chance.sample([*losses], len(losses)):
            begin = time.perf_counter()
            step(losses[name], student, teacher)
            if number >= warm_up:
                seconds[name].append(time.perf_counter() - begin)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, help="images of a batch (default 64)")
    parser.add_argument("--tokens", type=int, default=16, help="tokens of an image (default 16)")
    parser.add_argument("--width", type=int, default=512, help="width of both sides (default 512)")
    parser.add_argument("--rounds", type=int, default=30, help="timed rounds (default 30)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    seconds = measure(args.images, args.tokens, args.width, args.rounds)
    found = {}
    for name, own in seconds.items():
        ratios = [one / other for one, other in zip(own, seconds[REFERENCE], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        found[name] = {"ms": median_ms(own), "ratio": middle, "ratio_q1": low, "ratio_q3": high}
    if args.json:
        print(json.dumps({"threads": args.threads, "n": args.images * args.tokens, "width": args.width, "of": found}))
        return
    print(f"| n = {args.images * args.tokens}, D = {args.width} | time | ratio | quartiles |\n|---|---|---|---|")
    for name, row in found.items():
        print(f"| {name} | {row['ms']:.1f} ms | {row['ratio']:.2f}x | {row['ratio_q1']:.2f} to {row['ratio_q3']:.2f} |")


if __name__ == "__main__":
    main()
