"""Helper variables of a config file: used, dead, or meant for another place."""

import pytest

from kdhub.config import check_config, load_config

MODEL = "model = dict(type='kdcheck.Student', width=4)\n"


@pytest.fixture
def warned(manager, write):
    """Top-level keys that the check of a file warns of; later files inherit ``base.py``."""

    def warned(text, base=None):
        if base is not None:
            write("base.py", base)
            text = f"_base_ = 'base.py'\n{text}"
        found = check_config(load_config(write("a.py", text), manager=manager), manager).findings
        return {finding.path: finding for finding in found}

    return warned


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("optimiser = dict(type='SGD', lr=0.1)", "optim_wrapper.optimizer"),
        ("guards = dict(zero_term=0)", "model.guards"),
        ("lr_config = dict(policy='poly')", "param_scheduler"),
        ("optimizer_config = dict()", "optim_wrapper.clip_grad"),
        ("task_weight = 0.5", "model.task_weight"),
    ],
)
def test_a_key_that_belongs_elsewhere_is_warned_of(warned, line, place):
    """Nothing reads it at the top, and the run goes without what it was to set, at exit 0."""
    found = warned(f"{MODEL}{line}\n")
    (key,) = found
    assert line.startswith(key)
    assert "nothing reads" in found[key].message
    assert place in found[key].fix


@pytest.mark.parametrize(
    "text",
    [
        "common = dict(depth=3)\nmodel = dict(type='kdcheck.Student', width=4, **common)\n",
        "common = dict(depth=3)\nmodel = dict(type='kdcheck.Student', width=4, **{**common, 'depth': 2})\n",
        "student = dict(type='kdcheck.Student', depth=1)\nmodel = dict(student, depth=3, width=4)\n",
        "optimizer = dict(type='kdcheck.Student', width=1)\nmodel = dict(type='kdcheck.Student', width=optimizer['width'])\n",
    ],
)
def test_a_helper_that_the_file_reads_is_silent(warned, text):
    """`**common` leaves no dict that could be found again, and the check said that nobody reads it."""
    assert warned(text) == {}


def test_a_helper_of_a_base_that_the_heir_no_longer_needs_is_silent(warned):
    """The base is right, and so is its heir: nobody wrote a mistake."""
    base = "backbone = dict(type='kdcheck.Student', width=9)\nmodel = dict(type='kdcheck.Student', **backbone['type'] and {})\n"
    heir = "model = dict(_delete_=True, type='kdcheck.Student', width=4)\n"
    assert warned(heir, base) == {}
    assert list(warned(heir + "backbone = dict(type='kdcheck.Student', width=3)\n", base)) == ["backbone"]


@pytest.mark.parametrize("use", ["_base_.spare", "{{_base_.spare}}"])
def test_a_helper_of_a_base_that_only_the_heir_reads_is_silent(warned, use):
    """Bases are collections of parts for their heirs."""
    base = "spare = dict(type='kdcheck.Student', width=9)\n"
    assert warned(f"model = dict(type='kdhub.Distiller', student={use}, objectives=dict())\n", base).keys() <= {
        "model.objectives"
    }


def test_without_a_file_the_values_tell(findings, valid):
    """A config made in memory has no lines: what its helpers hold is looked for in the parts that are read."""
    valid["common"] = {"data_root": ".", "split": "another"}
    assert findings(valid) == {}
    valid["guards"] = {"no_gradient": False}
    assert list(findings(valid)) == ["guards"]
