"""What a network predicts, and the same said otherwise: noise, sample, v or flow."""

from __future__ import annotations

from torch import Tensor

from kdgen.noise import NoiseSchedule, over
from kdhub.api import UsageError, near_matches

PRED_TYPES = ("eps", "x0", "v", "flow")
"""The noise; the clean sample; v = alpha noise - sigma sample (Salimans and Ho 2022); flow = noise - sample."""


def require_pred_type(pred_type: str, where: str) -> None:
    """See that a prediction type is one of `PRED_TYPES`."""
    if pred_type not in PRED_TYPES:
        raise UsageError(
            "no such prediction",
            where=where,
            expected=f"one of {', '.join(PRED_TYPES)}",
            got=repr(pred_type),
            near=near_matches(str(pred_type), PRED_TYPES),
        )


def convert(prediction: Tensor, x_t: Tensor, t: Tensor, given: str, wanted: str, noise: NoiseSchedule) -> Tensor:
    """Say a prediction otherwise.

    Every prediction is a sum a x_0 + b noise, and so is x_t = alpha x_0 + sigma noise: two equations for two unknowns. They
    have no answer where the prediction and x_t say the same, as a noise prediction does at alpha = 0.

    Args:
        prediction: What the network said (B, ...).
        x_t: What it was asked about (B, ...).
        t: Times (B,).
        given: Its type.
        wanted: The type that is wanted.
        noise: The schedule.

    Returns:
        The prediction (B, ...) of the wanted type.
    """
    if given == wanted:
        return prediction
    alpha, sigma = over(noise.alpha(t), x_t), over(noise.sigma(t), x_t)
    of_x0, of_noise = _parts(given, alpha, sigma)
    determinant = alpha * of_noise - sigma * of_x0
    x0 = (of_noise * x_t - sigma * prediction) / determinant
    eps = (alpha * prediction - of_x0 * x_t) / determinant
    of_x0, of_noise = _parts(wanted, alpha, sigma)
    if wanted == "x0":
        return x0
    return eps if wanted == "eps" else of_x0 * x0 + of_noise * eps


def target(x0: Tensor, eps: Tensor, t: Tensor, pred_type: str, noise: NoiseSchedule) -> Tensor:
    """Return what a network of a prediction type should say of samples and noise (B, ...) at times (B,)."""
    of_x0, of_noise = _parts(pred_type, over(noise.alpha(t), x0), over(noise.sigma(t), x0))
    return of_x0 * x0 + of_noise * eps


def _parts(pred_type: str, alpha: Tensor, sigma: Tensor) -> tuple[Tensor | float, Tensor | float]:
    """Return the factors of sample and noise in a prediction."""
    if pred_type == "v":
        return -sigma, alpha
    return {"eps": (0.0, 1.0), "x0": (1.0, 0.0), "flow": (-1.0, 1.0)}[pred_type]
