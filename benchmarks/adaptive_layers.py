"""kdood.AdaptiveLayerKD, forward and backward, against loops over all pairs of layers.

One loop projects a teacher layer anew for each pair, as the authors' code does; the other projects it once. All
give the same value. Each round runs each once, in random order; quoted is the median of the ratios round by round, with its quartiles. Time is
that of the process on its CPU, so that other work on the machine counts little. Memory is what autograd keeps for the backward pass, each
storage once.

Usage: python benchmarks/adaptive_layers.py [--texts 8] [--tokens 128] [--width 768] [--rounds 10] [--json]
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

from kdood.losses.adaptive_layers import AdaptiveLayerKD

Loss = Callable[[list[Tensor], list[Tensor], Tensor], Tensor]
OURS, AS_RELEASED, ONCE = "AdaptiveLayerKD", "loop over pairs", "loop, projected once"


def loop_of(loss: AdaptiveLayerKD, once: bool) -> Loss:
    assert loss.of_teacher is not None
    weight, bias = loss.of_teacher.weight, loss.of_teacher.bias

    def loop(student: list[Tensor], teacher: list[Tensor], mask: Tensor) -> Tensor:
        (s0, s1), (t0, t1) = loss.student_layers, loss.teacher_layers
        total = torch.zeros(mask.shape)
        layers = teacher[t0 : t1 + 1]
        if once:
            layers = [torch.nn.functional.linear(one, weight[0], bias[0]) for one in layers]
        for ours in student[s0 : s1 + 1]:
            distances = []
            for theirs in layers:
                projected = theirs if once else torch.nn.functional.linear(theirs, weight[0], bias[0])
                distances.append((projected - ours).square().mean(-1))
            total = total + torch.stack(distances).topk(loss.nearest or 1, 0, largest=False).values.sum(0)
        return total[mask != 0].mean()

    return loop


def kept_bytes(compute: Callable[[], Tensor]) -> int:
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = compute()  # its graph lives until the storages are counted
    return sum(storages.values()) + 0 * result.numel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=8, help="texts of a batch (default 8)")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a text (default 128)")
    parser.add_argument("--width", type=int, default=768, help="width of both sides (default 768)")
    parser.add_argument("--real", type=float, default=1.0, help="share of the tokens that are no padding (default 1)")
    parser.add_argument("--rounds", type=int, default=10, help="timed rounds (default 10)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    loss = AdaptiveLayerKD(args.width)
    student = [torch.randn(args.texts, args.tokens, args.width, requires_grad=True) for _ in range(13)]
    teacher = [torch.randn(args.texts, args.tokens, args.width) for _ in range(13)]
    mask = (torch.arange(args.tokens) < args.real * args.tokens).long().expand(args.texts, -1)
    variants: dict[str, Loss] = {OURS: loss, AS_RELEASED: loop_of(loss, False), ONCE: loop_of(loss, True)}
    values = {name: float(variant(student, teacher, mask).detach()) for name, variant in variants.items()}
    require_equal("adaptive_layers", values, AS_RELEASED, {OURS: 1e-4, ONCE: 1e-4})
    memory = {name: kept_bytes(lambda v=variant: v(student, teacher, mask)) for name, variant in variants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    chance = random.Random(0)
    for number in range(args.rounds + 1):
        for name in chance.sample([*variants], len(variants)):
            begin = time.process_time()
            variants[name](student, teacher, mask).backward()
            if number:
                seconds[name].append(time.process_time() - begin)
    found = {}
    for name in (AS_RELEASED, ONCE):
        ratios = [slow / fast for slow, fast in zip(seconds[name], seconds[OURS], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        found[name] = {
            "speedup": middle,
            "quartiles": [low, high],
            "memory": memory[OURS] / memory[name],
            "ms": [median_ms(seconds[OURS]), median_ms(seconds[name])],
        }
    if args.json:
        print(json.dumps(found))
        return
    for name, row in found.items():
        a, b = row["quartiles"]
        print(
            f"{name}: {row['speedup']:.2f}x as fast ({a:.2f} to {b:.2f}), {row['memory']:.3f} of the memory, ms {row['ms']}"
        )


if __name__ == "__main__":
    main()
