"""Takes one ingredient of exact resume away, named by the environment; imported by the processes of a test."""

from __future__ import annotations

import os

from kdhub.distill.distiller import Distiller
from kdhub.engine.resume import sampling, state as resume
from kdhub.engine.resume.loops import Batches, KdhubIterLoop

VARIABLE = "TEST_FORGETS"


def generators() -> None:
    """Go on with whatever random numbers come."""
    resume.set_generator_states = lambda states: None


def position() -> None:
    """Begin the data again."""
    Batches.enter = lambda self, passes, done: None


def keys() -> None:
    """Augment with random numbers that happen to come."""
    sampling.seed_generators = lambda *key: None


def evaluation() -> None:
    """Do not make up for an evaluation."""
    KdhubIterLoop._make_up_for_evaluation = lambda self: None


def guards() -> None:
    """Let guards begin anew."""
    Distiller.load_guard_state = lambda self, state: None


def copies() -> None:
    """Let every tap decide anew whether it copies."""
    restore = Distiller.load_guard_state
    Distiller.load_guard_state = lambda self, state: restore(self, {**state, "copies": {}})


def buffers() -> None:
    """Give every process the buffers that the state dict holds."""
    resume.restore_buffers = lambda model, saved: []


if VARIABLE in os.environ:
    globals()[os.environ[VARIABLE]]()
