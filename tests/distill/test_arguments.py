"""No component of the core answers a wrong argument with Python's own words."""

import inspect

import pytest

import kdhub
from kdhub.distill.arguments import number
from kdhub.distill.distiller import Distiller
from kdhub.errors import KdhubError, UsageError
from kdhub.registry import build
from kdhub.testing.toys import ToySegmentor

NEEDED = {
    "ModuleOutput": {"path": "head"},
    "ModuleInput": {"path": "head"},
    "MethodOutput": {"path": "embed"},
    "ModelTeacher": {"model": {"type": ToySegmentor}},
    "StoredTeacher": {"store": "store"},
    "Linear": {"in_features": 3, "out_features": 4},
    "Conv1x1": {"in_channels": 3, "out_channels": 4},
    "ConstantSchedule": {"value": 1.0},
    "LinearSchedule": {"start": 1.0, "end": 0.0, "steps": 5},
    "CosineSchedule": {"start": 1.0, "end": 0.0, "steps": 5},
    "StepSchedule": {"value": 1.0, "milestones": [5]},
    "WarmupSchedule": {"value": 1.0, "steps": 5},
    "ChainedSchedule": {"schedules": [1.0, 2.0], "milestones": [5]},
}
"""Arguments without a default, for a component that can be built."""

WRONG = [None, object(), "nonsense", -1, 0, 2.5, float("nan"), True, [], [1, "a"], (4,), (4, 4, 4), {"a": 1}, [None]]


def complaint(kind, config):
    """What kdhub says of a config; any other exception is the failure."""
    try:
        build(kind, config, where="here")
    except KdhubError as error:
        return str(error)
    return None


@pytest.mark.parametrize("kind", ["tap", "adapter", "loss", "schedule"])
def test_a_wrong_argument_is_a_usage_error(kind):
    """`SpatialResize(size=4)` ended in "'int' object is not iterable": no component, no argument, no remedy."""
    for entry in kdhub.init().components(kind=kind, scope="kdhub"):
        name = entry.component.name
        for parameter in inspect.signature(entry.load()).parameters:
            for wrong in WRONG:
                said = complaint(kind, {"type": f"kdhub.{name}", **NEEDED.get(name, {}), parameter: wrong})
                assert said is None or parameter.rstrip("s") in said, f"{name}: {said}"


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("adapter", {"type": "kdhub.SpatialResize", "size": 4}, r"SpatialResize: bad size .*\(height, width\).*got 4"),
        ("adapter", {"type": "kdhub.SpatialResize", "size": (4,)}, "bad size"),
        ("adapter", {"type": "kdhub.SpatialResize", "align_corners": "False"}, "bad align_corners .*True or False"),
        ("adapter", {"type": "kdhub.TokenPool", "grid": 14}, "bad grid"),
        ("adapter", {"type": "kdhub.Linear", "in_features": "8", "out_features": 4}, "bad in_features"),
        ("adapter", {"type": "kdhub.Conv1x1", "in_channels": 8, "out_channels": 0}, "bad out_channels"),
        ("schedule", {"type": "kdhub.StepSchedule", "value": 1.0, "milestones": 5}, r"bad milestones .*a list.*got 5"),
        ("schedule", {"type": "kdhub.ChainedSchedule", "schedules": 1.0, "milestones": []}, "bad schedules"),
        ("loss", {"type": "kdhub.MSE", "axis": "channels"}, "MSE: bad axis"),
        ("loss", {"type": "kdhub.Relational", "normalize": "no"}, "bad normalize"),
        ("tap", {"type": "kdhub.ModuleOutput", "path": 3}, "bad path"),
        ("tap", {"type": "kdhub.ModuleOutput", "path": "head", "key": 1.5}, "bad key"),
        ("teacher", {"type": "kdhub.StoredTeacher", "store": 5}, "bad store"),
        ("teacher", {"type": "kdhub.StoredTeacher", "store": "s", "teacher": "t"}, "bad teacher"),
    ],
)
def test_what_is_wrong_is_named(kind, arguments, message):
    """A value that is accepted in silence fails in the first step, or trains something else."""
    with pytest.raises(UsageError, match=message):
        build(kind, arguments)


@pytest.mark.parametrize(
    ("guards", "message"),
    [
        ({"non_finit": False}, "model.guards.non_finit: no guard.*did you mean 'non_finite'"),
        ("off", "model.guards: not a dict"),
        ({"zero_term": False}, "model.guards.zero_term: .*whole number"),
        ({"no_gradient": 0}, "model.guards.no_gradient: .*True or False"),
    ],
)
def test_guards_are_read_from_a_dict(guards, message):
    """A misspelt guard ended in a TypeError of a dataclass; one set to a string stayed on."""
    with pytest.raises(UsageError, match=message):
        Distiller(ToySegmentor(), {}, guards=guards)


def test_a_number_has_an_upper_bound():
    """A share of 1.5 is a slip of the keyboard, and trains."""
    kind = number(at_least=0, at_most=1)
    assert kind.expected == "a finite number from 0 up to 1"
    assert [kind.fits(value) for value in (0, 0.5, 1, 1.5, -0.1)] == [True, True, True, False, False]
