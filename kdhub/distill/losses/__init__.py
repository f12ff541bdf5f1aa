"""The core's losses: each compares a student's value with a teacher's and knows nothing of any task."""

from kdhub.distill.losses.cosine import Cosine
from kdhub.distill.losses.mse import MSE
from kdhub.distill.losses.relational import Relational
from kdhub.distill.losses.smooth_l1 import SmoothL1
from kdhub.distill.losses.temperature_kl import TemperatureKL

__all__ = ["MSE", "Cosine", "Relational", "SmoothL1", "TemperatureKL"]
