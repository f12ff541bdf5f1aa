"""Several teachers as one: the mean of their scores, as they are or normalised list by list."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kdhub.api import MethodOutput, Tap, Teacher, UsageError, build, choice, near_matches, number, optional, require

_PATHS = ("score", "similarity")
_NORMALIZE = ("zscore", "minmax")


class ScoreEnsemble(Teacher):
    """Answers with the weighted mean of several teachers' scores.

    ``t_bk = Σ_m w_m f(t_mbk) / Σ_m w_m`` over teachers m, where f leaves scores as they are or normalises each list. A tap
    reads ``score`` ``(B, K)`` or ``similarity`` ``(B, B·K)``, as of each of the teachers; the teachers may be of different
    kinds, such as cross-encoders beside a ColBERT, and each tokenises for itself.

    Args:
        teachers: Name to config of a teacher, at least two, such as ``dict(type='kdhub.ModelTeacher', model=...)``.
        weights: Name to a number above 0, for each of them; ``None``, the default, weighs them alike.
        normalize: ``None``, the default, takes raw scores, as the Margin-MSE paper's ensemble T2 does, whose members are of one
            kind and scale. ``'zscore'`` (each list to mean 0 and standard deviation 1) and ``'minmax'`` (to 0 … 1) let teachers
            of different scales count alike. The size of a margin is then relative to its list, and a list of one score for
            all becomes zeros. They need lists of at least 3: of 2 every margin would be the same.

    Raises:
        UsageError: For a teacher that changes in training or does not read raw batches, a weight for nobody, a tap on something
            else, scores of different shapes or that are not finite, or lists too short to normalise.

    References:
        Hofstätter et al. 2020, arXiv 2010.02666, section on teacher ensembles; card margin_mse.md, 2.

    Example:
        ::

            teacher=dict(
                type='kdret.ScoreEnsemble',
                teachers=dict(
                    base=dict(type='kdhub.ModelTeacher', model=dict(type='kdret.CrossEncoder', model='...')),
                    large=dict(type='kdhub.ModelTeacher', model=dict(type='kdret.CrossEncoder', model='...'))),
                weights=dict(base=1.0, large=2.0))
    """

    def __init__(
        self, teachers: Mapping[str, Any], weights: Mapping[str, float] | None = None, normalize: str | None = None
    ) -> None:
        require("ScoreEnsemble", optional(choice(_NORMALIZE)), normalize=normalize)
        if not isinstance(teachers, Mapping) or len(teachers) < 2:
            raise UsageError(
                "ScoreEnsemble: bad teachers", expected="a dict of name to teacher, at least 2", got=repr(teachers)[:80]
            )
        self._teachers = {name: _member(name, one) for name, one in teachers.items()}
        self._weights = _weights(weights, tuple(teachers))
        self.normalize = normalize
        self._taps = {name: {path: MethodOutput(path) for path in _PATHS} for name in teachers}

    def preprocess(self, raw: Any, training: bool) -> dict[str, Any]:
        """Give each teacher its own view of the collated batch."""
        return {name: teacher.preprocess(raw, training) for name, teacher in self._teachers.items()}

    def values(self, batch: Any, taps: Sequence[Tap], *, check_mode: bool) -> None:
        """Run each teacher once, and answer each tap with the mean of what they say."""
        paths = dict.fromkeys(tap.path for tap in taps)
        for path in paths:
            if path not in _PATHS:
                raise UsageError(
                    f"ScoreEnsemble has no {path!r}",
                    expected="'score' or 'similarity': embeddings of different models have no mean",
                    got=repr(path),
                    near=near_matches(path, _PATHS),
                )
        for name, teacher in self._teachers.items():
            teacher.values(batch[name], [self._taps[name][path] for path in paths], check_mode=check_mode)
        means = {path: self._mean({name: own[path].read() for name, own in self._taps.items()}) for path in paths}
        for tap in taps:
            tap.answer(means[tap.path])

    def _mean(self, scores: Mapping[str, Tensor]) -> Tensor:
        _require_alike(scores)
        total = sum(self._weights.values())
        parts = (self._weights[name] / total * self._normalized(one.float()) for name, one in scores.items())
        return torch.stack(list(parts)).sum(0)

    def _normalized(self, scores: Tensor) -> Tensor:
        """Bring each list ``(K,)`` of ``(B, K)`` to one scale."""
        if self.normalize is None:
            return scores
        if scores.shape[1] < 3:
            raise UsageError(
                f"ScoreEnsemble: normalised lists of {scores.shape[1]} all have the same margin",
                expected="at least 3 documents for each query",
                fix="raise `candidates` of kdret.ScoredLists, or set normalize=None and bring the teachers to one scale by"
                " score_scale of their models",
            )
        if self.normalize == "zscore":
            shift, scale = scores.mean(1, keepdim=True), scores.std(1, correction=0, keepdim=True)
        else:
            shift, high = scores.aminmax(dim=1, keepdim=True)
            scale = high - shift
        # scores that differ by rounding alone say nothing, and dividing by their spread would make it a lesson
        tied = scale <= torch.finfo(scores.dtype).eps * scores.abs().amax(1, keepdim=True)
        return ((scores - shift) / scale.masked_fill(tied, 1.0)).masked_fill(tied, 0.0)

    def fingerprint(self) -> str:
        """Identify teachers, weights and normalisation."""
        own = {name: teacher.fingerprint() for name, teacher in self._teachers.items()}
        settings = json.dumps([own, self._weights, self.normalize], sort_keys=True)
        return f"ensemble-{hashlib.sha256(settings.encode()).hexdigest()[:16]}"

    def facts(self) -> dict[str, Any]:
        """Describe it for reports, with the parameters of all teachers together."""
        counts = [teacher.facts()["parameters"] for teacher in self._teachers.values()]
        return {"type": "ScoreEnsemble", "parameters": None if None in counts else sum(counts)}

    def state(self) -> dict[str, Any]:
        """Return what the teachers decided on the way."""
        return {name: state for name, teacher in self._teachers.items() if (state := teacher.state())}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        for name, own in state.items():
            self._teachers[name].load_state(own)

    def to(self, device: torch.device) -> None:
        """Move all teachers."""
        for teacher in self._teachers.values():
            teacher.to(device)


def _member(name: str, spec: Any) -> Teacher:
    where = f"ScoreEnsemble.teachers.{name}"
    teacher = build("teacher", spec, where=where)
    if not isinstance(teacher, Teacher) or not teacher.frozen or teacher.batch != "raw":
        raise UsageError(
            "no teacher of an ensemble",
            where=where,
            expected="one that never changes and reads the raw batch, such as kdhub.ModelTeacher",
            got=type(teacher).__name__,
        )
    return teacher


def _weights(weights: Any, names: tuple[str, ...]) -> dict[str, float]:
    if weights is None:
        return dict.fromkeys(names, 1.0)
    if not isinstance(weights, Mapping) or set(weights) != set(names):
        raise UsageError(
            "ScoreEnsemble: bad weights", expected=f"a number for each of {', '.join(names)}", got=repr(weights)
        )
    for name in names:
        require("ScoreEnsemble", number(above=0), **{f"weights[{name!r}]": weights[name]})
    return {name: float(weights[name]) for name in names}


def _require_alike(scores: Mapping[str, Tensor]) -> None:
    shapes = {name: tuple(one.shape) for name, one in scores.items()}
    if len(set(shapes.values())) > 1:
        raise UsageError(
            "ScoreEnsemble: teachers score different lists",
            expected="one shape",
            got=", ".join(f"{shape} of {name!r}" for name, shape in shapes.items()),
        )
    for name, one in scores.items():
        # elsewhere reading it would stall the device, and the run's guard of non-finite terms speaks
        if one.device.type == "cpu" and not one.isfinite().all():
            row = (~one.isfinite()).any(1).nonzero()[0].item()
            raise UsageError(
                f"ScoreEnsemble: teacher {name!r} gives query {row} of the batch a score that is not finite",
                expected="numbers",
                fix="look at that teacher's weights and precision",
            )
