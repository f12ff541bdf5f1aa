"""What the checker knows of mmengine and of training must be what they do."""

import inspect
import re

from mmengine.runner import Runner

from kdhub.config.default_hooks import MMENGINE_HOOKS, OWN_HOOKS
from kdhub.config.types.places import ROOT, TOP_LEVEL_KEYS
from kdhub.config.types.signature import signature
from kdhub.registry import ROOT_OF_KIND


def test_every_key_that_the_runner_reads_is_known():
    """A key of a newer mmengine would be called unknown in every config that uses it."""
    arguments = set(inspect.signature(Runner).parameters) - {"cfg"}
    read = set(re.findall(r"self\.cfg\.get\(\s*'(\w+)'", inspect.getsource(Runner)))
    assert arguments | read <= set(TOP_LEVEL_KEYS)


def test_hooks_that_training_adds_are_known_by_the_same_names():
    """Keywords for a hook that training adds would be checked against another class."""
    from kdhub.engine.defaults import HOOKS

    assert {f"kdhub.{name}" for name in OWN_HOOKS.values()} == {*HOOKS.values(), "kdhub.CheckpointHook"}
    assert all(HOOKS.get(name, "kdhub.CheckpointHook") == f"kdhub.{hook}" for name, hook in OWN_HOOKS.items())


def test_hooks_that_mmengine_adds_are_known_by_the_same_names():
    """Options without a type would build another hook than the one they change."""
    added = dict(
        re.findall(r"^ {12}(\w+)=dict\(type='(\w+)'", inspect.getsource(Runner.register_default_hooks), re.MULTILINE)
    )
    assert added == {**MMENGINE_HOOKS, "checkpoint": "CheckpointHook"}


def test_every_implicit_class_exists():
    """A class that moved would silently turn its part of the check off."""
    places = [ROOT.child(key).place for key in TOP_LEVEL_KEYS]
    hooks = ROOT.child("default_hooks")
    places += [hooks.child(name).place for name in (*OWN_HOOKS, *MMENGINE_HOOKS)]
    implicit = [place.implicit for place in places if place.implicit]
    assert len(implicit) >= 15
    assert [target for target in implicit if signature(target) is None] == []


def test_kinds_and_roots_agree():
    """A component of a kind is looked up in that kind's root, whatever the place says."""
    for key in TOP_LEVEL_KEYS:
        place = ROOT.child(key).place
        if place.kinds and place.roots:
            assert {ROOT_OF_KIND[kind] for kind in place.kinds} <= set(place.roots), key
