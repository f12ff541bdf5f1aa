"""Guided trajectories of a teacher on disk: the job that collects them, and the data sets that read them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from kdgen.prediction import PRED_TYPES, convert
from kdhub.api import Progress, UsageError, atomic_file, build, file_sha256, integer, number, require


def collect_trajectories(
    folder: Path,
    teacher: Any,
    shape: Sequence[int],
    trajectories: int = 400,
    held_out: int = 64,
    steps: int = 40,
    guidance: Sequence[float] = (1.0, 6.0),
    seed: int = 0,
    together: int = 256,
) -> dict[str, Any]:
    """Sample with guidance, and write what the sampler visits and what the teacher says there; a job.

    ``states.npy`` (trajectory, step, 2, *shape) in float16 holds the state and the guided prediction, in the teacher's own type;
    ``ends.npy`` (trajectory, *shape) where each trajectory ends; ``drawn.safetensors`` the labels, guidance scales, times and the place
    of that type in ``kdgen.prediction.PRED_TYPES``. They are written step by step and read by memory map. A job that was stopped goes on
    with the trajectories that are missing. It samples on the GPU where there is one.

    Args:
        folder: Folder of the job.
        teacher: The teacher, with classes; as the ``teacher`` of a method.
        shape: Shape of one sample, such as ``(2,)``.
        trajectories: Their number; classes and guidance scales are drawn evenly.
        held_out: So many more, for `kdgen.TrajectoryEnds`.
        steps: Steps of the DDIM sampler.
        guidance: Lowest and highest guidance scale; let 1 be among them, so that the student learns to leave its network alone.
        seed: Seed of noise, classes and guidance scales.
        together: Trajectories that are sampled at a time, and that a job that was stopped repeats at most. The noise of a trajectory does
            not depend on it.

    Returns:
        ``trajectories``, ``states`` and ``bytes``.

    Raises:
        UsageError: For a shape or a range of guidance that is none, a teacher without classes, or states that float16 cannot hold.
    """
    require("collect_trajectories", integer(1), trajectories=trajectories, steps=steps, together=together)
    require("collect_trajectories", integer(0), held_out=held_out, seed=seed)
    low, high = _require_numbers(shape, guidance)
    model = denoiser(build("teacher", teacher, where="job.teacher").model, "job.teacher").eval()
    if not model.classes:
        raise UsageError(
            "guidance with an unconditional model", where="job.teacher", expected="a teacher with classes=K", got="0"
        )
    total, times = trajectories + held_out, model.noise.t_list(steps)
    generator = torch.Generator().manual_seed(seed)
    drawn = {
        "labels": torch.randint(model.classes, (total,), generator=generator),
        "guidance": low + (high - low) * torch.rand(total, generator=generator),
        "times": torch.tensor(times),
        "trajectories": torch.tensor(trajectories),
        "prior_std": torch.tensor(model.noise.prior_std),
        "pred_type": torch.tensor(PRED_TYPES.index(model.pred_type)),
    }
    with atomic_file(folder / "drawn.safetensors") as stream:
        stream.write(save(drawn))
    states = _array(folder / "states.npy", (total, steps, 2, *shape), "float16")
    ends = _array(folder / "ends.npy", (total, *shape), "float32")
    counter = folder / "done.txt"
    done = int(counter.read_text(encoding="utf-8")) if counter.is_file() else 0
    with Progress("sampling", total, done=done, unit="trajectories") as progress, _on_the_gpu(model) as device:
        for first in range(done, total, together):
            rows = slice(first, min(first + together, total))
            noise = torch.stack([_noise(shape, seed, row) for row in range(first, rows.stop)])
            asked = (one.to(device) for one in (noise, drawn["labels"][rows], drawn["guidance"][rows]))
            for step, visit in enumerate(roll_out(model, times, *asked)):
                states[rows, step] = _halved(torch.stack(visit[:2], dim=1))
            ends[rows] = visit[2].cpu().numpy()
            states.flush()
            ends.flush()
            with atomic_file(counter) as stream:
                stream.write(str(rows.stop).encode())
            progress.reach(rows.stop)
    return {"trajectories": total, "states": total * steps, "bytes": states.nbytes + ends.nbytes}


@torch.no_grad()
def roll_out(
    model: Denoiser, times: Sequence[float], noise: Tensor, labels: Tensor, guidance: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Sample by DDIM with two calls a step, and say what is visited.

    Args:
        model: The teacher.
        times: Times from noise to data.
        noise: Unit noise (B, ...).
        labels: Labels (B,).
        guidance: Guidance scales (B,).

    Yields:
        For each step the state, the guided prediction and the sample that it says, (B, ...) each; the last sample is the end.
    """
    x = noise * model.noise.prior_std
    for time, following in itertools.pairwise([*times, None]):
        t = torch.full((len(x),), float(time), device=x.device)  # type: ignore[arg-type]
        said = model.predict(x, t, labels, to=model.pred_type, guidance_scale=guidance)
        x0 = convert(said, x, t, model.pred_type, "x0", model.noise)
        yield x, said, x0
        if following is not None:
            eps = (x - over(model.noise.alpha(t), x) * x0) / over(model.noise.sigma(t), x)
            x = model.noise.add_noise(x0, eps, torch.full_like(t, following))


class Trajectories(Dataset[dict[str, Tensor]]):
    """States that `collect_trajectories` kept, in chunks drawn evenly over trajectories and steps: the batches of `kdgen.AGD`.

    A chunk has ``inputs`` (chunk, ...), ``times`` (chunk,), ``labels`` (chunk,), ``guidance`` (chunk,), ``targets`` (chunk, ...) and
    ``pred_type`` (chunk,), the place of the targets' type in ``kdgen.prediction.PRED_TYPES``.
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
        # a folder of an earlier version does not say the type
        kind = {"pred_type": self._drawn["pred_type"].expand(self.chunk)} if "pred_type" in self._drawn else {}
        return {
            **kind,
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


def _require_numbers(shape: Any, guidance: Any) -> tuple[float, float]:
    """See that a shape is one, and return the lowest and the highest guidance."""
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        raise UsageError("not a shape", where="job.shape", expected="a list, such as (2,)", got=repr(shape))
    require("collect_trajectories", integer(1), **{f"shape[{i}]": one for i, one in enumerate(shape)})
    if not isinstance(guidance, Sequence) or isinstance(guidance, str) or len(guidance) != 2:
        raise UsageError(
            "not a range of guidance", where="job.guidance", expected="(lowest, highest)", got=repr(guidance)
        )
    require("collect_trajectories", number(at_least=0), **{f"guidance[{i}]": one for i, one in enumerate(guidance)})
    low, high = guidance
    if low > high:
        raise UsageError(
            "not a range of guidance", where="job.guidance", expected="(lowest, highest)", got=repr(guidance)
        )
    return low, high


@contextmanager
def _on_the_gpu(model: Denoiser) -> Iterator[torch.device]:
    """Let a model work on the GPU where there is one, and put it back: whoever gave it has it elsewhere."""
    home = next(itertools.chain(model.parameters(), model.buffers()), torch.empty(0)).device
    device = torch.device("cuda") if torch.cuda.is_available() else home
    model.to(device)
    try:
        yield device
    finally:
        model.to(home)


def _noise(shape: Sequence[int], seed: int, row: int) -> Tensor:
    """Draw the noise of one trajectory, rounded, so that the first state that is kept is the noise that was used."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed * 2_147_483_629 + 1 + row)).half().float()


def _halved(states: Tensor) -> np.ndarray[Any, Any]:
    """Return states in float16.

    Raises:
        UsageError: If it cannot hold them.
    """
    largest = float(states.abs().max())
    if not largest <= torch.finfo(torch.float16).max:  # NaN is not either
        raise UsageError(
            "states that float16 cannot hold",
            where="job.teacher",
            got=f"up to {largest:g}",
            fix="a variance-preserving schedule, and a teacher whose samples are finite",
        )
    return states.half().cpu().numpy()


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
