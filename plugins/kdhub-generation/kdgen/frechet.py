"""Fréchet distance of generated samples to data, in the features of a classifier that was trained here."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.device import get_device
from torch import Tensor

from kdgen.metrics import SampleMetric
from kdhub.api import ModuleOutput, Teacher, UsageError, build, integer, optional, require


def gaussian_frechet(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    """Return the squared Fréchet (2-Wasserstein) distance of two Gaussians (Dowson and Landau 1982).

    ``|m - n|^2 + tr(C) + tr(D) - 2 tr((C D)^(1/2))``. The last trace is the sum of the singular values of C^(1/2) D^(1/2), so only
    roots of symmetric matrices are taken, and none of the product, which is not symmetric and need have no real root after rounding.

    Args:
        mean: Mean (D,) of the first.
        covariance: Its covariance (D, D); it may be singular.
        other_mean: Mean (D,) of the second.
        other_covariance: Its covariance (D, D).
    """
    mean, covariance, other_mean, other_covariance = (
        one.double() for one in (mean, covariance, other_mean, other_covariance)
    )
    common = torch.linalg.svdvals(_root(covariance) @ _root(other_covariance)).sum()
    apart = (mean - other_mean).square().sum()
    return max(float(apart + covariance.trace() + other_covariance.trace() - 2 * common), 0.0)


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Return `gaussian_frechet` of two sets of features (N, D) and (M, D), with their means and covariances (of N - 1).

    It has a bias that falls with N and M: compare figures of as many samples.

    Raises:
        UsageError: For features that are not vectors of one width, fewer than 2 of them, or NaN.
    """
    for name, features in (("the samples", one), ("the data", other)):
        if features.dim() != 2 or len(features) < 2 or features.shape[1] != one.shape[1]:
            raise UsageError(
                f"the features of {name} have no covariance to compare",
                where="features",
                expected="(N, D) with N of at least 2, and one D for samples and data",
                got=str(tuple(features.shape)),
                fix="features=dict(type='kdhub.ModuleInput', path='fc') reads what a classifier's last layer is given",
            )
        if not bool(features.isfinite().all()):
            raise UsageError(f"the features of {name} are NaN or infinite", where="features")
    return gaussian_frechet(*_moments(one), *_moments(other))


class ClassifierFrechet(SampleMetric):
    """Fréchet distance of generated images to data, in the features of a classifier of your own.

    Gives ``frechet_classifier``; lower is better. It is computed as the FID is, with a classifier of these very data in the place of
    Inception: figures compare only with figures of the same classifier, the same data and as many samples, and never with an FID.

    Args:
        data: A data set of chunks, such as ``dict(type='kdgen.Images', data=..., chunk=10000, seed=0)``; all its images count.
        classifier: A teacher of the core around the classifier:
            ``dict(type='kdhub.ModelTeacher', model='@classifier/student/model.py', checkpoint='@classifier/student/model.safetensors')``.
        features: The tap that reads a feature vector (B, D), such as ``dict(type='kdhub.ModuleInput', path='fc')``; a path is the
            output of that module.
        channels: Channels that the classifier takes; grey images are repeated. ``None`` gives images as they are.
        chunk: Images that the classifier is given at once.
        collect_device: mmengine's.
        prefix: mmengine's.
    """

    def __init__(
        self,
        data: Any,
        classifier: Any,
        features: Any,
        channels: int | None = None,
        chunk: int = 250,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        require("ClassifierFrechet", integer(1), chunk=chunk)
        require("ClassifierFrechet", optional(integer(1)), channels=channels)
        self._data, self._classifier, self._features = data, classifier, features
        self.channels, self.chunk = channels, chunk
        self._built: tuple[Teacher, Tensor] | None = None

    def compute_metrics(self, results: list[Any]) -> dict[str, float]:
        """Compute the figure; the classifier and the features of the data are kept for the next evaluation."""
        if (
            self._built is None
        ):  # not in the constructor, which the check of a config calls before a classifier is trained
            teacher = build("teacher", self._classifier, where="ClassifierFrechet.classifier")
            teacher.to(torch.device(get_device()))
            data = build("dataset", self._data, where="ClassifierFrechet.data")
            real = torch.cat([data[index]["inputs"] for index in range(len(data))])
            self._built = teacher, self._read(teacher, real)
        teacher, real_features = self._built
        made = self._read(teacher, torch.cat([one["sample"] for one in results]))
        return {"frechet_classifier": frechet_distance(made, real_features)}

    @torch.no_grad()
    def _read(self, teacher: Teacher, images: Tensor) -> Tensor:
        spec = self._features
        tap = ModuleOutput(spec) if isinstance(spec, str) else build("tap", spec, where="ClassifierFrechet.features")
        found = []
        for part in images.split(self.chunk):
            if self.channels is not None and part.shape[1] != self.channels:
                part = part.expand(-1, self.channels, -1, -1)
            batch = teacher.preprocess({"inputs": part.to(get_device())}, False)
            teacher.values(batch, [tap], check_mode=False)
            found.append(tap.read().cpu())
            tap.clear()
        return torch.cat(found)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    return features.double().mean(dim=0), torch.cov(features.double().T).reshape(features.shape[1], features.shape[1])


def _root(matrix: Tensor) -> Tensor:
    """Return the root of a symmetric matrix; eigenvalues that rounding made negative are 0."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
