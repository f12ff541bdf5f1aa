"""``kdhub sample``: samples of the student that a run left, as numbers and as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdhub.api import Parser

TEXT = """Sample from the student of a run.

Writes samples.safetensors, `samples` (N, ...) and `labels` (N,), and samples.png: images in a grid, points on the plane. The same
seed gives the same noise to any student, so that pictures can be laid side by side.

Examples:
  kdhub sample work_dirs/ring -n 1000
  kdhub sample work_dirs/teacher -n 64 --steps 50
  kdhub sample work_dirs/student -n 64 --label 3 --out pictures
  kdhub sample work_dirs/student -n 64 --speed"""


def main(argv: list[str]) -> int:
    """Sample; return the exit code."""
    parser = Parser("sample", TEXT)
    parser.add_argument("work_dir", help="folder of a run")
    parser.add_argument("-n", "--number", type=int, default=64, help="samples (default 64)")
    parser.add_argument("--steps", type=int, help="steps of the sampler (default those of the config)")
    parser.add_argument("--label", type=int, help="class of all samples (default each in turn)")
    parser.add_argument("--guidance-scale", type=float, help="guidance (default that of the config)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the noise (default 0)")
    parser.add_argument("--speed", action="store_true", help="time it too: the median of 5 more passes")
    parser.add_argument("--out", help="folder to write to (default the work_dir)")
    options = parser.parse(argv)

    import torch

    from kdgen.sampling import ddim, samples_per_second
    from kdhub.api import atomic_file, integer, optional, require

    require("sample", integer(1), **{"--number": options.number})
    require("sample", optional(integer(1)), **{"--steps": options.steps})
    folder = Path(options.work_dir)
    model, shape = load_student(folder)
    t_list = model.t_list if options.steps is None else model.noise.t_list(options.steps)
    guidance = model.guidance_scale if options.guidance_scale is None else options.guidance_scale
    model.require_guidable(guidance, "--guidance-scale")
    noise = torch.randn(options.number, *shape, generator=torch.Generator().manual_seed(options.seed))
    labels = _labels(model.classes, options.number, options.label)
    samples = ddim(model.eval(), noise, labels, t_list, guidance)
    out = Path(options.out or folder)
    out.mkdir(parents=True, exist_ok=True)
    _write(out, samples, labels, atomic_file)
    print(f"{options.number} samples in {len(t_list)} step{'s' * (len(t_list) > 1)}: {out / 'samples.png'}")
    if options.speed:
        rate = samples_per_second(model, noise, labels, t_list, guidance)
        print(f"{rate:.3g} samples a second, {options.number} at once on {noise.device.type}")
    return 0


def load_student(folder: Path) -> tuple[Any, tuple[int, ...]]:
    """Build the student of a run with its weights.

    Args:
        folder: The run's work_dir.

    Returns:
        The `kdgen.Denoiser`, and the shape of one sample.

    Raises:
        UsageError: If the folder holds no run of a generator.
    """
    from kdgen.denoiser import Denoiser
    from kdhub.api import UsageError, build, init, load_config, load_weights, student_as_it_stands

    if not (folder / "config.py").is_file() or not (folder / "student").is_dir():
        raise UsageError(
            "no trained student here",
            where=str(folder),
            expected="the work_dir of a run, with config.py and student/",
            fix="kdhub train kdgen:ring-swiftbrush --work-dir " + str(folder),
        )
    init()
    cfg = load_config(str(folder / "config.py"))
    model = build("model", student_as_it_stands(cfg)["model"], where="model.student")
    if not isinstance(model, Denoiser):
        raise UsageError(
            "the student of this run generates nothing",
            where=str(folder / "config.py"),
            expected="a kdgen.Denoiser",
            got=type(model).__name__,
        )
    weights = folder / "student" / "model.safetensors"
    load_weights(model, weights if weights.is_file() else folder / "student" / "diffusion_pytorch_model.safetensors")
    return model, _shape(cfg, folder)


def _shape(cfg: Any, folder: Path) -> tuple[int, ...]:
    from kdhub.api import UsageError, build

    datasets = [(cfg.get(loader) or {}).get("dataset") for loader in ("train_dataloader", "val_dataloader")]
    for dataset in filter(None, datasets):
        if dataset.get("shape") is not None:
            return tuple(dataset["shape"])
    for dataset in filter(None, datasets):
        return tuple(build("dataset", dataset)[0]["inputs"].shape[1:])
    raise UsageError(
        "the config does not say which shape a sample has",
        where=str(folder / "config.py"),
        expected="a data set in train_dataloader or val_dataloader, such as a kdgen.NoiseDataset",
    )


def _labels(classes: int, number: int, label: int | None) -> Any:
    import torch

    from kdhub.api import UsageError

    if label is not None and not 0 <= label < classes:
        expected = f"0 to {classes - 1}" if classes else "no --label: the model has no classes"
        raise UsageError("no such class", where="--label", expected=expected, got=str(label))
    if not classes:
        return None
    return torch.arange(number) % classes if label is None else torch.full((number,), label)


def _write(out: Path, samples: Any, labels: Any, atomic_file: Any) -> None:
    from matplotlib.image import imsave
    from safetensors.torch import save

    from kdgen.pictures import picture

    tensors = {"samples": samples.contiguous()} | ({} if labels is None else {"labels": labels})
    with atomic_file(out / "samples.safetensors") as stream:
        stream.write(save(tensors))
    with atomic_file(out / "samples.png") as stream:
        imsave(stream, picture(samples).numpy(), format="png")
