"""Guided trajectories of a teacher on disk: the job that collects them, and the data sets that read them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.utils.data import Dataset

from kdgen.denoiser import Denoiser
from kdgen.distiller import denoiser
from kdgen.noise import over
from kdgen.prediction import convert
from kdhub.api import Progress, UsageError, atomic_file, build, file_sha256, integer, number, require

_TOGETHER = 256
"""Trajectories that are sampled at a time, and that a job that was stopped repeats at most."""


def collect_trajectories(
    folder: Path,
    teacher: Any,
    shape: Sequence[int],
    trajectories: int = 400,
    held_out: int = 64,
    steps: int = 40,
    guidance: Sequence[float] = (1.0, 6.0),
    seed: int = 0,
) -> dict[str, Any]:
    """Sample with guidance, and write what the sampler visits and what the teacher says there; a job.

    ``states.npy`` (trajectory, step, 2, *shape) in float16 holds the state and the guided prediction, in the teacher's own type;
    ``ends.npy`` (trajectory, *shape) where each trajectory ends; ``drawn.safetensors`` the labels, guidance scales and times. They are
    read by memory map. A job that was stopped goes on with the trajectories that are missing.

    Args:
        folder: Folder of the job.
        teacher: The teacher, with classes; as the ``teacher`` of a method.
        shape: Shape of one sample, such as ``(2,)``.
        trajectories: Their number; classes and guidance scales are drawn evenly.
        held_out: So many more, for `kdgen.TrajectoryEnds`.
        steps: Steps of the DDIM sampler.
        guidance: Lowest and highest guidance scale; let 1 be among them, so that the student learns to leave its network alone.
        seed: Seed of noise, classes and guidance scales.

    Returns:
        ``trajectories``, ``states`` and ``bytes``.

    Raises:
        UsageError: For a teacher without classes, or states that float16 cannot hold.
    """
    require("collect_trajectories", integer(1), trajectories=trajectories, steps=steps)
    require("collect_trajectories", integer(0), held_out=held_out, seed=seed)
    require("collect_trajectories", number(at_least=0), **{f"guidance[{i}]": one for i, one in enumerate(guidance)})
    if len(guidance) != 2 or guidance[0] > guidance[1]:
        raise UsageError(
            "not a range of guidance", where="job.guidance", expected="(lowest, highest)", got=str(guidance)
        )
    model = denoiser(build("teacher", teacher, where="job.teacher").model, "job.teacher").eval()
    model.require_guidable(guidance[1] if guidance[1] != 1.0 else guidance[0], "job.guidance")
    total, times = trajectories + held_out, model.noise.t_list(steps)
    generator = torch.Generator().manual_seed(seed)
    low, high = guidance
    drawn = {
        "labels": torch.randint(model.classes, (total,), generator=generator),
        "guidance": low + (high - low) * torch.rand(total, generator=generator),
        "times": torch.tensor(times),
        "trajectories": torch.tensor(trajectories),
        "prior_std": torch.tensor(model.noise.prior_std),
    }
    with atomic_file(folder / "drawn.safetensors") as stream:
        stream.write(save(drawn))
    states = _array(folder / "states.npy", (total, steps, 2, *shape), "float16")
    ends = _array(folder / "ends.npy", (total, *shape), "float32")
    counter = folder / "done.txt"
    done = int(counter.read_text(encoding="utf-8")) if counter.is_file() else 0
    with Progress("sampling", total, done=done, unit="trajectories") as progress:
        for first in range(done, total, _TOGETHER):
            rows = slice(first, min(first + _TOGETHER, total))
            generator = torch.Generator().manual_seed(seed * 2_147_483_629 + 1 + first)
            # rounded, so that the first state that is kept is the noise that was used
            noise = torch.randn(rows.stop - first, *shape, generator=generator).half().float()
            visited, end = roll_out(model, noise, drawn["labels"][rows], times, drawn["guidance"][rows])
            if not visited.isfinite().all() or visited.abs().max() > torch.finfo(torch.float16).max:
                raise UsageError(
                    "states that float16 cannot hold",
                    where="job.teacher",
                    got=f"up to {float(visited.abs().max()):g}",
                    fix="a variance-preserving schedule, and a teacher whose samples are finite",
                )
            states[rows], ends[rows] = visited.half().numpy(), end.numpy()
            states.flush()
            ends.flush()
            with atomic_file(counter) as stream:
                stream.write(str(rows.stop).encode())
            progress.reach(rows.stop)
    return {"trajectories": total, "states": total * steps, "bytes": states.nbytes + ends.nbytes}


@torch.no_grad()
def roll_out(
    model: Denoiser, noise: Tensor, labels: Tensor, times: Sequence[float], guidance: Tensor
) -> tuple[Tensor, Tensor]:
    """Sample by DDIM with two calls a step, and keep what was visited.

    Args:
        model: The teacher.
        noise: Unit noise (B, ...).
        labels: Labels (B,).
        times: Times from noise to data.
        guidance: Guidance scales (B,).

    Returns:
        States and guided predictions (B, steps, 2, ...), and the samples (B, ...).
    """
    x, kept = noise * model.noise.prior_std, []
    for time, following in itertools.pairwise([*times, None]):
        t = torch.full((len(x),), float(time))  # type: ignore[arg-type]
        said = model.predict(x, t, labels, to=model.pred_type, guidance_scale=guidance)
        kept.append(torch.stack((x, said), dim=1))
        x0 = convert(said, x, t, model.pred_type, "x0", model.noise)
        if following is not None:
            eps = (x - over(model.noise.alpha(t), x) * x0) / over(model.noise.sigma(t), x)
            x = model.noise.add_noise(x0, eps, torch.full_like(t, following))
    return torch.stack(kept, dim=1), x0


class Trajectories(Dataset[dict[str, Tensor]]):
    """States that `collect_trajectories` kept, in chunks drawn evenly over trajectories and steps: the batches of `kdgen.AGD`.

    A chunk has ``inputs`` (chunk, ...), ``times`` (chunk,), ``labels`` (chunk,), ``guidance`` (chunk,) and ``targets`` (chunk, ...).
    Join them with ``collate_fn=dict(type='kdgen.join')``. States are drawn from the run's random numbers.

    Args:
        folder: Folder of the job, such as ``'@trajectories'``.
        chunk: States in a chunk.
    """

    def __init__(self, folder: str, chunk: int = 64) -> None:
        require("Trajectories", integer(1), chunk=chunk)
        self.folder, self.chunk = folder, chunk
        self._drawn, self._states, _ = _opened(folder)
        self._count = int(self._drawn["trajectories"])

    def __len__(self) -> int:
        """Return the number of chunks that hold as many states as there are."""
        return max(self._count * self._states.shape[1] // self.chunk, 1)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one chunk."""
        steps = self._states.shape[1]
        places = torch.randint(self._count * steps, (self.chunk,))
        rows, step = places // steps, places % steps
        both = torch.from_numpy(self._states[rows.numpy(), step.numpy()]).float()
        return {
            "inputs": both[:, 0],
            "targets": both[:, 1],
            "times": self._drawn["times"][step],
            "labels": self._drawn["labels"][rows],
            "guidance": self._drawn["guidance"][rows],
        }

    def fingerprint(self) -> str:
        """Identify the states by their file."""
        return f"trajectories-{file_sha256(Path(self.folder, 'states.npy'))[:16]}-{self.chunk}"


class TrajectoryEnds(Dataset[dict[str, Tensor]]):
    """Noise and what the guided teacher makes of it, of the trajectories that were held out: what a student is measured against.

    A chunk has ``inputs`` (chunk, ...), ``labels``, ``guidance`` and ``targets``; `kdgen.EndpointError` compares.

    Args:
        folder: Folder of the job.
        chunk: Trajectories in a chunk.
    """

    def __init__(self, folder: str, chunk: int = 64) -> None:
        require("TrajectoryEnds", integer(1), chunk=chunk)
        self._drawn, states, ends = _opened(folder)
        first = int(self._drawn["trajectories"])
        if first == len(ends):
            raise UsageError("no trajectory was held out", where=folder, fix="collect anew, with job.held_out=64")
        self._noise = torch.from_numpy(states[first:, 0, 0].astype("float32")) / float(self._drawn["prior_std"])
        self._ends = torch.from_numpy(ends[first:].copy())
        self._places = torch.arange(first, len(ends)).split(chunk)

    def __len__(self) -> int:
        """Return the number of chunks."""
        return len(self._places)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one chunk."""
        rows = self._places[index]
        own = rows - int(self._drawn["trajectories"])
        return {
            "inputs": self._noise[own],
            "targets": self._ends[own],
            "labels": self._drawn["labels"][rows],
            "guidance": self._drawn["guidance"][rows],
        }


def _array(path: Path, shape: tuple[int, ...], kind: str) -> np.memmap[Any, Any]:
    """Open an array on disk, or begin it."""
    return np.lib.format.open_memmap(path, mode="r+" if path.is_file() else "w+", dtype=kind, shape=shape)


def _opened(folder: str) -> tuple[dict[str, Tensor], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Open what a job wrote.

    Raises:
        UsageError: If there is nothing, or not all of it.
    """
    path = Path(folder)
    try:
        drawn = load_file(path / "drawn.safetensors")
        states, ends = (np.load(path / f"{name}.npy", mmap_mode="r") for name in ("states", "ends"))
        done = int((path / "done.txt").read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            "no trajectories here",
            where=folder,
            expected="the folder of a job of kdgen.collect_trajectories",
            got=str(error),
            fix="predecessors=dict(trajectories='kdgen:ring-trajectories'), and folder='@trajectories'",
        ) from error
    if done < len(ends):
        raise UsageError(
            "the trajectories are not all there", where=folder, got=f"{done} of {len(ends)}", fix="let the job end"
        )
    return drawn, states, ends
