"""What a fingerprint counts of values that JSON has no form for."""

import dataclasses
import datetime as dt
import enum
import functools
import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from kdhub.engine.workdir.identity import config_fingerprint
from kdhub.fingerprints import json_fallback


class Thing:
    def __init__(self, content=None):
        self.content = content

    def method(self):
        pass


class Named:
    def __init__(self, name):
        self.address = object.__repr__(self)
        self.name = name

    def fingerprint(self):
        return self.name


class Slotted:
    __slots__ = ("content",)

    def __init__(self, content):
        self.content = content


@dataclasses.dataclass
class Options:
    size: int


class Mode(enum.Enum):
    FAST = 1
    SLOW = 2


def times(factor):
    return lambda value: value * factor


def raised(function):
    @functools.wraps(function)
    def call(value):
        return function(value) + 1

    return call


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Path("a"), Path("b")),
        (np.zeros(3), np.ones(3)),
        (np.zeros(4), np.zeros((2, 2))),
        (np.zeros(1, np.int64), np.zeros(1, np.float64)),
        (torch.zeros(3), torch.ones(3)),
        (torch.zeros(4), torch.zeros(2, 2)),
        (torch.zeros(2, dtype=torch.float16), torch.zeros(2, dtype=torch.bfloat16)),
        (np.array(["a", None], object), np.array(["b", None], object)),
        (np.float32(1), np.float32(2)),
        (Thing, Path),
        (len, print),
        (range(3), range(5)),
        ({1, 2}, {1, 3}),
        ({1, 2}, frozenset({1, 2})),
        (b"a", b"b"),
        (bytearray(b"a"), bytearray(b"b")),
        (slice(0, 3), slice(0, 5)),
        (1j, 2j),
        (functools.partial(sorted, reverse=True), functools.partial(sorted, reverse=False)),
        (functools.partial(sorted), functools.partial(max)),
        (dt.date(2020, 1, 1), dt.date(2021, 1, 1)),
        (re.compile("a"), re.compile("b")),
        (Mode.FAST, Mode.SLOW),
        (torch.float16, torch.float32),
        (torch.device("cpu"), torch.device("cuda")),
        (torch.nn.Dropout(0.1), torch.nn.Dropout(0.2)),
        (Options(1), Options(2)),
        (Thing(1), Thing(2)),
        (Thing([{1}]), Thing([{2}])),
        (Thing(1).method, Thing(2).method),
        (Slotted(1), Slotted(2)),
        (Named("a"), Named("b")),
        (times(2), times(3)),
        (lambda value: value + 1, lambda value: value + 2),
        (len, raised(len)),
        (np.array([(range(3),)], [("a", "O")]), np.array([(range(5),)], [("a", "O")])),
    ],
)
def test_what_differs_is_told_apart(one, other):
    """Two teachers or data sets with one fingerprint share a store, whose answers are wrong for one of them."""
    texts = {json.dumps(value, default=json_fallback) for value in (one, other)}
    assert len(texts) == 2


def containing_itself():
    thing = Thing()
    thing.content = [thing]
    return thing


@pytest.mark.parametrize(
    "make",
    [
        Thing,
        containing_itself,
        Path,
        lambda: torch.arange(4).reshape(2, 2).T,
        lambda: np.arange(4)[::2],
        lambda: range(3),
        lambda: times(2),
        lambda: raised(len),
        lambda: Thing({"a": times(2), 1: {"b"}}),
        lambda: Named("a"),
        lambda: torch.nn.Linear(2, 2),
        lambda: functools.partial(Thing, b"a"),
        lambda: Thing(1).method,
        lambda: [].append,
    ],
)
def test_what_is_equal_is_one(make):
    """An address in a fingerprint, or the layout of an array, would refuse each store in the next process."""
    first, second = make(), make()
    assert json_fallback(first) == json_fallback(second)
    assert config_fingerprint({"part": first}) == config_fingerprint({"part": second})


def test_the_order_of_a_set_does_not_count():
    """Python gives the texts of a set in another order in each process, so no store would fit the next one."""
    one, other = set([0, 8]), set([8, 0])  # noqa: C405 - 0 and 8 share a place, so that the first one comes first
    assert list(one) != list(other)
    assert json_fallback(one) == json_fallback(other)


@pytest.mark.parametrize(
    "make", [threading.Lock, lambda: (index for index in range(3)), lambda: Thing(threading.Lock())]
)
def test_what_has_no_content_differs_from_everything(make, monkeypatch):
    """Two open files with one fingerprint would let a store answer for the data of another file."""
    said = []
    monkeypatch.setattr("kdhub.fingerprints.print_log", lambda text, *_: said.append(text))
    value = make()
    assert json_fallback(value) != json_fallback(value)
    assert all("cannot be compared with that of another run" in line for line in said)
    assert len(said) == 2


def nested(depth):
    thing = Thing()
    for _ in range(depth):
        thing = Thing(thing)
    return thing


def test_what_is_nested_too_deep_differs_from_everything(monkeypatch):
    """Python cannot walk through it: the run ended in a traceback of a thousand lines, or two of them counted as one."""
    said = []
    monkeypatch.setattr("kdhub.fingerprints.print_log", lambda text, *_: said.append(text))
    value = nested(2000)
    assert json_fallback(value) != json_fallback(value)
    assert len(said) == 2
    assert "Thing cannot be compared with that of another run" in said[0]


def test_a_mistake_of_our_own_is_not_taken_for_a_value_without_content(monkeypatch):
    """A bug of kdhub made each fingerprint differ from itself, with a warning about the user's value; no store ever fitted."""

    def broken(value, within):
        raise AttributeError("a bug of kdhub")

    monkeypatch.setattr("kdhub.fingerprints._mapping", broken)
    with pytest.raises(AttributeError, match="a bug of kdhub"):
        json_fallback(Thing(1))


def test_plain_values_keep_their_fingerprint():
    """Stores and work_dirs of an older kdhub would be refused, with nothing changed in their configs."""
    assert (
        config_fingerprint({"type": "A", "sizes": (1, 2.5, None), "labels": {1: True}, "num_workers": 4})
        == "4764dd0f1a96"
    )
    assert config_fingerprint({"path": Path("data"), "kind": dict, "call": len}) == "4aa336f92d72"


def test_layout_does_not_count():
    """A transposed view and its copy hold the same values."""
    view = torch.arange(6.0).reshape(2, 3).T
    assert json_fallback(view) == json_fallback(view.clone(memory_format=torch.contiguous_format))
    assert json_fallback(view.numpy()) == json_fallback(view.numpy().copy())


def test_a_function_counts_what_it_reads_of_its_module():
    """`lambda image: image * SCALE` of a config passed for the same pipeline whatever SCALE was."""
    one, other, same = (eval("lambda image: image * SCALE", {"SCALE": scale}) for scale in (2, 3, 2))
    assert config_fingerprint(one) == config_fingerprint(same) != config_fingerprint(other)
