"""AUROC, AUPR, FAR95 and their kin, with the definitions of the MLKD card, and bootstrap intervals; numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdhub.api import UsageError

FIGURES = ("auroc", "aupr_out", "aupr_in", "far95", "tnr95", "fdr95", "detection_error")
_SHARE = 1 - 0.95
"""The share of OOD texts below the threshold, in floating point as the authors compute it: 0.050000000000000044."""


def ood_figures(scores: Sequence[float], is_ood: Sequence[bool]) -> dict[str, float]:
    """Compute how well a score tells texts out of distribution from those within, in percent.

    OOD is the positive class, and a higher score means OOD. Equal scores count half in ``auroc`` and are one point of the
    precision-recall curve.

    * ``auroc``: area under the ROC curve.
    * ``aupr_out``: area under the precision-recall curve by trapezoids, which is not the average precision; ``aupr_in``: the same for
      negated scores with the roles swapped.
    * ``far95``: share of ID scores strictly above the OOD score at index ``int(n · 0.05)``, counted from the lowest. Lower is better.
    * ``tnr95`` = 100 − ``far95``; ``fdr95``: share of ID among all scores strictly above that threshold; ``detection_error``: mean of
      ``far95`` and the share of OOD scores that are not above it.

    Args:
        scores: One score a text.
        is_ood: Whether each is out of distribution.

    Returns:
        Figure to percent.

    Raises:
        UsageError: If there is one class only, or a score is NaN.
    """
    curve = _Curve(scores, is_ood)
    found = curve.figures(np.ones((1, len(curve.out))))
    return {name: float(values[0]) for name, values in found.items()}


def bootstrap_intervals(
    scores: Sequence[float], is_ood: Sequence[bool], draws: int = 1000, level: float = 0.95, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Compute percentile intervals of the figures, texts drawn anew within each of the two classes.

    Args:
        scores: As for `ood_figures`.
        is_ood: As for `ood_figures`.
        draws: How many samples.
        level: Share of them within the interval.
        seed: Of the draws.

    Returns:
        Figure to lower and upper end, in percent.
    """
    curve, random = _Curve(scores, is_ood), np.random.default_rng(seed)
    parts: list[dict[str, np.ndarray]] = []
    for begin in range(0, draws, 100):
        count = min(100, draws - begin)
        weights = np.empty((count, len(curve.out)))
        for members in (curve.out, ~curve.out):
            size = int(members.sum())
            weights[:, members] = random.multinomial(size, np.full(size, 1 / size), size=count)
        parts.append(curve.figures(weights))
    ends = (1 - level) / 2, (1 + level) / 2
    joined = {name: np.concatenate([part[name] for part in parts]) for name in FIGURES}
    return {name: (float(a), float(b)) for name, (a, b) in ((n, np.quantile(v, ends)) for n, v in joined.items())}


class _Curve:
    """Texts in the order of their scores; figures for any number of weightings of them at once."""

    def __init__(self, scores: Sequence[float], is_ood: Sequence[bool]) -> None:
        values, out = np.asarray(scores, np.float64), np.asarray(is_ood).astype(bool)
        if values.shape != out.shape or values.ndim != 1:
            raise UsageError("scores and classes differ in number", got=f"{values.shape} and {out.shape}")
        if np.isnan(values).any():
            raise UsageError(
                f"{int(np.isnan(values).sum())} of {len(values)} scores are NaN",
                fix="leave out texts that have nothing to score, such as empty ones",
            )
        if not 0 < out.sum() < len(out):
            raise UsageError(
                "figures of OOD detection need texts of both classes",
                got=f"{int(out.sum())} out of distribution, {int((~out).sum())} within",
            )
        order = np.argsort(values, kind="stable")
        self.out = out[order]
        ascending = values[order]
        self._starts = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]])

    def figures(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Compute the figures for weights (R, n) of the sorted texts: arrays (R,)."""
        out = np.add.reduceat(weights * self.out, self._starts, axis=1)  # (R, distinct scores), ascending
        ins = np.add.reduceat(weights * ~self.out, self._starts, axis=1)
        outs, insides = out.sum(1, keepdims=True), ins.sum(1, keepdims=True)
        auroc = (out * (ins.cumsum(1) - ins / 2)).sum(1) / (outs * insides)[:, 0]
        below = (out.cumsum(1) > np.floor(outs * _SHARE)).argmax(1)  # the place of the threshold
        rows = np.arange(len(out))
        false = insides[:, 0] - ins.cumsum(1)[rows, below]
        true = outs[:, 0] - out.cumsum(1)[rows, below]
        far = false / insides[:, 0]
        missed = 1 - true / outs[:, 0]
        found = {
            "auroc": auroc,
            "aupr_out": _area(out[:, ::-1], ins[:, ::-1]),
            "aupr_in": _area(ins, out),
            "far95": far,
            "tnr95": 1 - far,
            "fdr95": np.divide(false, false + true, out=np.zeros_like(false), where=false + true > 0),
            "detection_error": (far + missed) / 2,
        }
        return {name: 100.0 * values for name, values in found.items()}


def _area(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Area under precision over recall by trapezoids, thresholds from the most positive score on."""
    hits, all_ = positive.cumsum(1), (positive + negative).cumsum(1)
    precision = np.divide(hits, all_, out=np.ones_like(hits), where=all_ > 0)
    recall = hits / hits[:, -1:]
    start = np.ones((len(hits), 1))
    precision, recall = np.hstack([start, precision]), np.hstack([0 * start, recall])
    return ((precision[:, 1:] + precision[:, :-1]) / 2 * np.diff(recall)).sum(1)
