"""One-step generators on points of the plane: the toy tables of the six methods, with intervals.

Each toy is a ring of Gaussians whose exact scores are known, or a small teacher that learned it; each row trains one student from scratch.
`sliced_w2` is the sliced Wasserstein distance to fresh points, `within` the percent of samples within 0.5 of a mode, `modes` how many
modes hold a quarter of their share. A toy and seed that are finished are not repeated: the same command goes on where it stopped.

Examples:
    python tools/generation_evidence.py                          all six, three seeds
    python tools/generation_evidence.py asd agd --share 0.1      two of them, with a tenth of the steps
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from evidence import seeds_of
from evidence_tables import interval, with_interval
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODELS
from torch import Tensor

from kdgen.distiller import Draw
from kdgen.losses import inject
from kdgen.methods.agd import AGD
from kdgen.methods.asd import ASD
from kdgen.methods.boot import BOOT
from kdgen.methods.consistency import ConsistencyDistillation
from kdgen.methods.disback import Degradation, DisBack
from kdgen.methods.score import SDS, SwiftBrush
from kdgen.methods.tbcm import TBCM
from kdgen.metrics import ring_quality
from kdgen.ring import Ring
from kdgen.sampling import ddim
from kdgen.toys import exact_teacher, student
from kdgen.trajectories import Trajectories, collect_trajectories
from kdhub.errors import KdhubError
from kdhub.registry import init

Rows = dict[str, dict[str, float]]
SAMPLES = 4000
CLIPPED: Mapping[str, Any] = {"student": 1.0}
COSINE_INSIDE = {"type": "kdgen.CosineSchedule", "t_min": 0.005, "t_max": 0.995}
TRIG = {"type": "kdgen.TrigFlowSchedule"}


def swiftbrush(steps: Callable[[int], int]) -> Rows:
    """Four prompts of two opposite modes: SDS, VSD, VSD whose fake score learns twice as often."""
    found = {}
    fake = net_of(student(4, pred_type="eps"))
    for name, model, count in (
        ("SDS", SDS(net_of(student(4)), exact_teacher(4)), 4000),
        ("VSD 1:1", _vsd(fake, 1), 4000),
        ("VSD, 2 fake steps", _vsd(fake, 2), 12000),
    ):
        trained(model, steps(count), lambda: {"inputs": torch.randn(256, 2), "labels": torch.randint(4, (256,))}, 1e-3)
        labels = torch.arange(SAMPLES) % 4
        with torch.no_grad():
            points = model.student.generate(torch.randn(SAMPLES, 2), labels)
        found[name] = _quality(points, Ring(classes=4), labels)
    return found


def _vsd(fake: Any, every: int) -> SwiftBrush:
    return SwiftBrush(
        net_of(student(4)),
        exact_teacher(4),
        fake,
        fake_weighting="none",
        null_probability=0.0,
        student_update_freq=every,
    )


def disback(steps: Callable[[int], int]) -> Rows:
    """A generator far off the ring, a learned teacher: score distillation directly and along the path."""
    base = MODELS.build(net_of(student(pred_type="eps", noise=COSINE_INSIDE)))
    ring = Ring()
    fit(base, steps(4000), lambda: base.denoising_loss(ring.sample(256)), 1e-3)
    teacher = {"type": "kdhub.ModelTeacher", "own_weights": True, "model": base}
    first = MODELS.build(net_of(student(noise=COSINE_INSIDE)))
    fit(first, steps(500), lambda: _off_the_ring(first), 1e-3)
    start = first.state_dict()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = _degraded(teacher, start, Path(folder), steps(60))
        for name, nodes in (("direct", []), ("DisBack", path)):
            model = DisBack(net_of(student(noise=COSINE_INSIDE)), teacher, path=nodes, steps_per_node=steps(60))
            model.student.load_state_dict(start)
            wrappers = optimizers(model, 3e-4, {"student": 10.0, "fake_score": 10.0})
            for number in range(1, 4):
                trained(model, steps(1000), lambda: {"inputs": torch.randn(256, 2)}, 3e-4, wrappers=wrappers)
                with torch.no_grad():
                    points = model.student.generate(torch.randn(SAMPLES, 2))
                found[f"{name}, {number * steps(1000)} steps"] = _quality(points, ring)
    return found


def _off_the_ring(model: Any) -> Tensor:
    noise = torch.randn(256, 2)
    return (model.generate(noise) - (3.0 + 0.3 * noise)).square().mean()


def _degraded(teacher: Any, start: Any, folder: Path, count: int) -> list[str]:
    model = Degradation(net_of(student(noise=COSINE_INSIDE)), teacher)
    model.student.load_state_dict(start)
    wrappers, files = optimizers(model, 2e-4, {}), []
    for number in range(1, 6):
        trained(model, count, lambda: {"inputs": torch.randn(256, 2)}, 2e-4, wrappers=wrappers)
        files.append(str(folder / f"iter_{count * number}.pth"))
        torch.save({"state_dict": model.state_dict()}, files[-1])
    return files


def boot(steps: Callable[[int], int]) -> Rows:
    """Distance to the 200-step end point of the same noise."""
    ring, found = Ring(), {}
    own = student(noise=COSINE_INSIDE, t_list=[0.005])
    noise = torch.randn(SAMPLES, 2)
    teacher = MODELS.build(exact_teacher(noise=COSINE_INSIDE)["model"])
    ends = ddim(teacher, noise, None, teacher.noise.t_list(200))

    def measured(points: Tensor) -> dict[str, float]:
        return {"rmse": float((points - ends).square().mean().sqrt()), **_quality(points, ring)}

    for name, options in (
        ("BOOT", {}),
        ("weight 1", {"max_weight": 1.0}),
        ("step 0.02", {"step": 0.02}),
        ("no boundary", {"boundary_weight": 0.0}),
    ):
        model = BOOT(net_of(own), exact_teacher(noise=COSINE_INSIDE), **options)
        trained(model, steps(6000), lambda: {"inputs": torch.randn(512, 2)}, 1e-3, CLIPPED, to_zero=True)
        found[name] = measured(ddim(model.student, noise, None, model.student.t_list))
    for count in (1, 4, 8):
        found[f"teacher, {count} step{'s' * (count > 1)}"] = measured(
            ddim(teacher, noise, None, teacher.noise.t_list(count))
        )
    return found


def tbcm(steps: Callable[[int], int]) -> Rows:
    """One step, on a ring scaled to unit spread; distances are scaled back."""
    scaled = {"radius": math.sqrt(2), "std": 0.15 / math.sqrt(2)}
    ring, found = Ring(**scaled), {}
    own = student(noise=TRIG, pred_type="v")
    before = MODELS.build(net_of(own))
    fit(before, steps(4000), lambda: before.denoising_loss(ring.sample(256)), 1e-3)
    teacher = exact_teacher(noise=TRIG, pred_type="x0", **scaled)

    def measured(model: Any, count: int) -> dict[str, float]:
        points = ddim(model, torch.randn(SAMPLES, 2), None, model.noise.t_list(count))
        return _quality(points * math.sqrt(2), Ring())

    found["before, 1 step"] = measured(before, 1)
    more = {"tangent_warmup": steps(800)}
    late = {"type": "kdhub.LinearSchedule", "start": 1.0, "end": 0.75, "begin": steps(2000), "steps": steps(800)}
    for name, method, batch, options in (
        ("TBCM", TBCM, lambda: torch.randn(64, 2), {}),
        ("noised data", ConsistencyDistillation, lambda: ring.sample(960), {}),
        ("8 points", TBCM, lambda: torch.randn(64, 2), {"points": 8}),
        ("tangent down to 0.75", TBCM, lambda: torch.randn(64, 2), {"tangent_weight": late}),
    ):
        model = method(net_of(own), teacher, **more, **options)
        model.student.load_state_dict(before.state_dict())
        trained(model, steps(4000), lambda of=batch: {"inputs": of()}, 1e-3, CLIPPED, to_zero=True)
        found[f"{name}, 1 step"] = measured(model.student, 1)
    exact = MODELS.build(teacher["model"])
    return {**found, **{f"teacher, {count} steps": measured(exact, count) for count in (200, 16)}}


def agd(steps: Callable[[int], int]) -> Rows:
    """Distance of one call a step to guided sampling of two, from the same noise, at four scales."""
    ring = Ring(modes=4, radius=1.2, std=0.6, classes=4)
    own = {
        **student(4, noise=COSINE_INSIDE, pred_type="v"),
        "net": {"type": "kdgen.MLP", "width": 128, "depth": 4, "classes": 4, "residual": True},
    }
    base = MODELS.build(own)
    fit(base, steps(6000), lambda: _labelled_loss(base, ring), 1e-3)
    teacher = {"type": "kdhub.ModelTeacher", "own_weights": True, "model": base.eval()}
    noise, labels, times = torch.randn(1000, 2), torch.arange(1000) % 4, base.noise.t_list(40)
    ends = {scale: ddim(base, noise, labels, times, scale) for scale in (1.0, 2.0, 4.0, 6.0)}

    def gaps(model: Any, fixed: float | None = None) -> dict[str, float]:
        return {
            f"w = {scale:g}": float((ddim(model, noise, labels, times, fixed or scale) - end).square().mean().sqrt())
            for scale, end in ends.items()
        }

    found = {"conditional only": gaps(base, 1.0)}
    with tempfile.TemporaryDirectory() as folder:
        collect_trajectories(Path(folder), teacher, (2,), 400, 0, 40, (1.0, 6.0), seed=int(torch.randint(10**6, ())))
        visited = Trajectories(folder, 64)
        for design, states in itertools.product(("offset", "attention"), ("visited", "noised data")):
            adapters = {"at": "hidden.*", "design": design, "width": 64, "scale": 0.1}
            adapters |= {"time": "time", "condition": "labels"}
            model = AGD({**own, "type": "kdgen.GuidedDenoiser", "adapters": adapters}, teacher)
            batch = (lambda: visited[0]) if states == "visited" else (lambda: _noised(base, ring))
            fit(model.student.adapters, steps(3000), lambda m=model, of=batch: _guidance_loss(m, of()), 1e-3)
            found[f"{design}, {states}"] = gaps(model.student.eval())
            model.student.adapters.remove()
    return found


def _labelled_loss(model: Any, ring: Ring) -> Tensor:
    labels = torch.randint(4, (256,))
    return model.denoising_loss(ring.sample(256, labels), labels.masked_fill(torch.rand(256) < 0.15, 4))


@torch.no_grad()
def _noised(base: Any, ring: Ring) -> dict[str, Tensor]:
    labels, guidance = torch.randint(4, (64,)), 1.0 + 5.0 * torch.rand(64)
    t = base.noise.draw(64)
    x = base.noise.add_noise(ring.sample(64, labels), torch.randn(64, 2), t)
    said = base.predict(x, t, labels, to="v", guidance_scale=guidance)
    return {"inputs": x, "labels": labels, "times": t, "guidance": guidance, "targets": said}


def _guidance_loss(model: AGD, batch: dict[str, Tensor]) -> Tensor:
    return model.student_loss(Draw(batch["inputs"], batch["labels"], more=batch))["loss_guidance"]


def asd(steps: Callable[[int], int]) -> Rows:
    """Free particles drawn to the mode of their prompt, and how noisy their gradients are."""
    count, found = steps(1500), {}
    for name, eta in (("ASD, shift 0.1", 0.1), ("ASD, shift 0.2", 0.2), ("no shift", 0.0), ("SDS", None)):
        model = ASD(student(4), exact_teacher(4, modes=4), eta=eta or 0.0)
        labels = torch.arange(400) % 4
        points = torch.randn(400, 2, requires_grad=True)
        optimizer = torch.optim.Adam([points], 0.02)
        for step in range(count):
            low, high = 0.5 - 0.48 * step / count, 0.98 - 0.48 * step / count
            optimizer.zero_grad()
            inject(points, _pull(model, points.detach(), labels, low, high, eta), "sum").backward()
            optimizer.step()
        means = model.teacher.net.ring.means[labels]
        found[name] = {"distance": float((points.detach() - means).norm(dim=1).mean())}
        for place, away in (("off the mode", 0.5), ("at the mode", 0.0)):
            at = model.teacher.net.ring.means[:1].expand(SAMPLES, 2) * (1 + away / 2.0)
            pulls = _pull(model, at, torch.zeros(SAMPLES, dtype=torch.long), 0.02, 0.5, eta)
            found[name][f"gradient noise {place}"] = float(pulls.std(dim=0).mean())
    return found


@torch.no_grad()
def _pull(model: ASD, points: Tensor, labels: Tensor, low: float, high: float, eta: float | None) -> Tensor:
    """Return the gradient of ASD, or without a shift (``None``) that of SDS."""
    noise, eps = model.teacher.noise, torch.randn_like(points)
    t = noise.draw(len(points), low, high)
    if eta is not None:
        return model.gradient(points, t, eps, labels, low, torch.rand(len(points)))
    said = model.teacher.predict(noise.add_noise(points, eps, t), t, labels)
    return noise.sigma(t).square()[:, None] * (said - eps)


TOYS: dict[str, Callable[[Callable[[int], int]], Rows]] = {
    "swiftbrush": swiftbrush,
    "disback": disback,
    "boot": boot,
    "tbcm": tbcm,
    "agd": agd,
    "asd": asd,
}


def net_of(denoiser: dict[str, Any]) -> dict[str, Any]:
    """Give a generator the network of the tables: three layers of 192."""
    return {**denoiser, "net": {"type": "kdgen.MLP", "classes": denoiser["classes"]}}


def optimizers(model: Any, lr: float, clip: Mapping[str, float]) -> OptimWrapperDict:
    """Build Adam for each role."""
    return OptimWrapperDict(
        **{
            role: OptimWrapper(
                torch.optim.Adam(module.parameters(), lr),
                clip_grad={"max_norm": clip[role]} if role in clip else None,
            )
            for role, module in model.roles.items()
        }
    )


def trained(
    model: Any,
    steps: int,
    batch: Callable[[], dict[str, Tensor]],
    lr: float,
    clip: Mapping[str, float] = {},
    to_zero: bool = False,
    wrappers: Any = None,
) -> None:
    """Train all roles of a method; with ``to_zero`` the rate falls to 0 along a cosine."""
    wrappers = optimizers(model, lr, clip) if wrappers is None else wrappers
    for step in range(steps):
        if to_zero:
            for wrapper in wrappers.values():
                wrapper.optimizer.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        model.train_step(batch(), wrappers)


def fit(module: torch.nn.Module, steps: int, loss_of: Callable[[], Tensor], lr: float) -> None:
    """Train a module by Adam with a rate that falls to 0 along a cosine."""
    optimizer = torch.optim.Adam(module.parameters(), lr)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        loss_of().backward()
        optimizer.step()


def _quality(points: Tensor, ring: Ring, labels: Tensor | None = None) -> dict[str, float]:
    labels = torch.zeros(len(points), dtype=torch.long) if labels is None else labels
    found = ring_quality(points, labels, ring)
    return {name: found[name] for name in ("sliced_w2", "within", "modes")}


def main(argv: list[str] | None = None) -> int:
    """Run what is missing, then print a table for each toy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("toys", nargs="*", metavar="TOY", help=f"some of {', '.join(TOYS)} (default all)")
    parser.add_argument(
        "--seeds", type=seeds_of, default="0,1,2", metavar="N,N", help="at least 3 for an interval worth its name"
    )
    parser.add_argument("--share", type=float, default=1.0, help="share of each training's steps (default 1)")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/evidence/generation-toy"))
    args = parser.parse_args(argv)
    unknown = set(args.toys) - set(TOYS)
    if unknown or not 0 < args.share <= 1:
        parser.error(f"no such toy: {', '.join(sorted(unknown))}" if unknown else "--share is above 0 and up to 1")
    seeds, names = args.seeds, args.toys or list(TOYS)
    init()
    try:
        for seed, name in itertools.product(seeds, names):
            _run(name, seed, args.share, args.work_dir)
    except KdhubError as error:
        print(f"generation_evidence: error: {error}", file=sys.stderr)
        return 2
    print("\n\n".join(_table(name, seeds, args.share, args.work_dir) for name in names))
    return 0


def _file(name: str, seed: int, share: float, folder: Path) -> Path:
    return folder / f"{name}-share{share:g}-seed{seed}.json"


def _run(name: str, seed: int, share: float, folder: Path) -> None:
    path = _file(name, seed, share, folder)
    if path.is_file():
        return
    begun = time.monotonic()
    torch.manual_seed(seed)
    rows = TOYS[name](lambda count: max(round(count * share), 1))
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(f"{name}, seed {seed}: {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)


def _table(name: str, seeds: list[int], share: float, folder: Path) -> str:
    runs = [json.loads(_file(name, seed, share, folder).read_text(encoding="utf-8")) for seed in seeds]
    heads = list(next(iter(runs[0].values())))
    lines = [f"| {name}, {len(seeds)} seeds | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for row in runs[0]:
        found = [interval([run[row][head] for run in runs]) for head in heads]
        lines.append(f"| {row} | {' | '.join(with_interval(x['mean'], x['half_width_95']) for x in found)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
