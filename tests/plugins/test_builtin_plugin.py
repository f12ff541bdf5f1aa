"""The core's own plugin keeps the contract that it asks of others."""

from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import nn

import kdhub
from kdhub.cli.commands import COMMANDS
from kdhub.plugins.names import BUILTIN_COMMANDS, KNOWN_DISTRIBUTIONS
from kdhub.testing import assert_plugin_contract, isolated_plugins

PLUGIN_FOLDERS = sorted((Path(__file__).parents[2] / "plugins").glob("kdhub-*"))


def test_it_keeps_the_contract():
    """Every target must import, be what its record says, and have a documented signature."""
    with isolated_plugins() as manager:
        assert_plugin_contract("kdhub", manager)


def test_it_answers_after_every_plugin(tmp_path):
    """The core proposes an adapter and writes a student when nobody else does."""
    with isolated_plugins() as manager:
        student = nn.Linear(2, 3)
        line = manager.export_student(student, tmp_path, {"model": {"student": {"type": "Tiny"}}}, {})
        assert line is not None
        assert "model.safetensors" in line
        assert load_file(tmp_path / "model.safetensors")["weight"].equal(student.weight)
        assert (tmp_path / "model.py").read_text() == "model = dict(type='Tiny')\n"
        for proposal in manager.propose_adapter((4, 8), (4, 16)) or pytest.fail("no adapter for another width"):
            assert manager.find(proposal["type"], "adapter")


def test_its_doctor_looks_at_the_installation():
    """A doctor that says nothing is worse than none, and what all others stand on comes first."""
    with isolated_plugins(installed=True) as manager:
        assert manager.doctor()[0].title == "Python"


def test_the_commands_of_the_core_are_taken():
    """The list of names that no plugin may take lives below the command line, and must not lag behind it."""
    assert set(COMMANDS) == BUILTIN_COMMANDS


@pytest.mark.parametrize("folder", PLUGIN_FOLDERS, ids=lambda folder: folder.name)
def test_the_known_index_agrees_with_the_tree(folder):
    """A wrong line to type is worse than none."""
    declared = (folder / "pyproject.toml").read_text(encoding="utf-8")
    (scope,) = (scope for scope, dist in KNOWN_DISTRIBUTIONS.items() if dist == folder.name)
    assert f'name = "{folder.name}"' in declared
    assert f'{scope} = "{scope}.plugin"' in declared


def test_every_loss_is_public_in_the_right_kind():
    """The core's names are what tutorials use; a lost one breaks them all."""
    with isolated_plugins():
        kinds = {entry.type: entry.component.kind for entry in kdhub.init().components(scope="kdhub")}
    for name in ("TemperatureKL", "MSE", "Cosine", "SmoothL1", "Relational"):
        assert kinds[f"kdhub.{name}"] == "loss"
    assert kinds["kdhub.Distiller"] == "distiller"
    assert kinds["kdhub.ModelTeacher"] == "teacher"
