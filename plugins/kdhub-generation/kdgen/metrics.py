"""How far generated samples are from data: sliced Wasserstein distance, and modes found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor

from kdgen.ring import Ring
from kdhub.api import UsageError, build


def sliced_wasserstein(one: Tensor, other: Tensor, projections: int = 128, seed: int = 0) -> float:
    """Return the sliced 2-Wasserstein distance (Bonneel et al. 2015) between two sets of as many samples (N, ...).

    The root of the mean, over random directions, of the squared distance between sorted projections.

    Args:
        one: Samples (N, ...).
        other: Samples (N, ...).
        projections: Number of directions.
        seed: Seed of the directions.

    Raises:
        UsageError: If the sets are of different shapes.
    """
    if one.shape != other.shape:
        raise UsageError("two sets of different shapes", expected=str(tuple(one.shape)), got=str(tuple(other.shape)))
    one, other = one.flatten(1).double().cpu(), other.flatten(1).double().cpu()
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(one.shape[1], projections, generator=generator, dtype=torch.float64)
    directions = directions / directions.norm(dim=0)
    gaps = (one @ directions).sort(dim=0).values - (other @ directions).sort(dim=0).values
    return float(gaps.square().mean().sqrt())


class SampleMetric(BaseMetric):
    """The base of metrics of generated samples: it keeps one entry a batch.

    mmengine cuts the entries to the length of the data set, which is a number of chunks: entries of single samples would be cut to a
    handful.
    """

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep what a batch generated: ``sample`` (B, ...), and ``label`` (B,) and ``target`` (B, ...) where they are known."""
        kept = {name: [one[name] for one in data_samples if name in one] for name in ("sample", "label", "target")}
        self.results.append({name: torch.stack(list(map(_on_cpu, values))) for name, values in kept.items() if values})


def _on_cpu(value: Any) -> Tensor:
    return torch.as_tensor(value).detach().cpu()


class RingQuality(SampleMetric):
    """Quality of generated points: against a `kdgen.ring.Ring`, class by class, and averaged over the classes.

    Gives ``sliced_w2`` (to fresh points of the ring; lower is better), ``within`` (percent of the points within ``distance`` of a
    mode of their class), ``modes`` (modes that hold at least a quarter of their share of these, averaged over the classes) and
    ``spread`` (standard deviation of the points, averaged over the axes: it falls when modes collapse).

    Args:
        modes: As in `kdgen.ring.Ring`.
        radius: As in `kdgen.ring.Ring`.
        std: As in `kdgen.ring.Ring`.
        classes: As in `kdgen.ring.Ring`.
        distance: How near a mode counts.
        collect_device: mmengine's.
        prefix: mmengine's.
    """

    def __init__(
        self,
        modes: int = 8,
        radius: float = 2.0,
        std: float = 0.15,
        classes: int = 0,
        distance: float = 0.5,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ring, self.distance = Ring(modes, radius, std, classes), distance

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Compute all figures."""
        points = torch.cat([one["sample"] for one in results])
        labels = torch.cat([one.get("label", torch.zeros(len(one["sample"]))) for one in results]).long()
        return ring_quality(points, labels, self.ring, self.distance)


class ImageQuality(SampleMetric):
    """How far generated images are from data, in pixels: no network judges, so it sees colours and shapes and no classes.

    Gives ``sliced_w2``, to as many images of the data (lower is better), and ``spread``, the standard deviation of a pixel averaged over
    the image, as a share of the data's: it falls when modes collapse.

    Args:
        data: A data set of chunks, such as ``dict(type='kdgen.Images', data=..., chunk=1000, seed=0)``; as many of its images are used as there are samples.
        collect_device: mmengine's.
        prefix: mmengine's.
    """

    def __init__(self, data: Any, collect_device: str = "cpu", prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self._config = data

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Compute both figures."""
        data = build("dataset", self._config, where="ImageQuality.data")
        images = torch.cat([one["sample"] for one in results])
        real = torch.cat([data[index]["inputs"] for index in range(len(data))])[: len(images)]
        images = images[: len(real)]
        return {
            "sliced_w2": sliced_wasserstein(images, real),
            "spread": float(images.std(dim=0).mean() / real.std(dim=0).mean()),
        }


class EndpointError(SampleMetric):
    """How far samples are from what the teacher makes of the same noise, with the samples of `kdgen.TrajectoryEnds`.

    Gives ``rmse``, the root of the mean squared difference over samples and elements.

    Args:
        collect_device: mmengine's.
        prefix: mmengine's.
    """

    def __init__(self, collect_device: str = "cpu", prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Compute the figure."""
        gaps = torch.cat([one["sample"] - one["target"] for one in results])
        return {"rmse": float(gaps.double().square().mean().sqrt())}


def ring_quality(points: Tensor, labels: Tensor, ring: Ring, distance: float = 0.5) -> dict[str, float]:
    """Compute the figures of `RingQuality` of points (N, 2) with labels (N,)."""
    figures: dict[str, list[float]] = {"sliced_w2": [], "within": [], "modes": []}
    for label in labels.unique():
        own = points[labels == label]
        allowed = ring.class_of_mode == label if ring.classes else torch.ones(len(ring.means), dtype=torch.bool)
        gaps, nearest = torch.cdist(own, ring.means[allowed]).min(dim=1)
        near = gaps < distance
        counts = torch.bincount(nearest[near], minlength=int(allowed.sum()))
        fresh = ring.sample(len(own), torch.full((len(own),), int(label)), torch.Generator().manual_seed(1))
        figures["sliced_w2"].append(sliced_wasserstein(own, fresh))
        figures["within"].append(100.0 * float(near.float().mean()))
        figures["modes"].append(float((counts >= len(own) / len(counts) / 4).sum()))
    return {
        **{name: sum(values) / len(values) for name, values in figures.items()},
        "spread": float(points.std(dim=0).mean()),
    }
