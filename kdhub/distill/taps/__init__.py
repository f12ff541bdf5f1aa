"""Taps: how knowledge is read out of a model while it runs, without an edit to the model."""

from kdhub.distill.taps.base import Tap, recording
from kdhub.distill.taps.build import make_tap, resolved
from kdhub.distill.taps.method import MethodOutput
from kdhub.distill.taps.module import ModuleInput, ModuleOutput

__all__ = ["MethodOutput", "ModuleInput", "ModuleOutput", "Tap", "make_tap", "recording", "resolved"]
