"""The manifest, its recipes and its README."""

from pathlib import Path

import pytest

from kdhub.config import check_config, load_config
from kdhub.registry import init
from kdhub.testing import assert_plugin_contract
from kdlm import plugin


def test_the_manifest_keeps_the_contract():
    """A plugin of the tree that breaks the contract would teach authors to."""
    assert_plugin_contract("kdlm")


@pytest.mark.parametrize("name", [recipe.name for recipe in plugin.kdhub_recipes()])
def test_recipes_pass_the_check(name):
    """A recipe is what a newcomer types first."""
    report = check_config(load_config(f"kdlm:{name}"), init())
    assert not report.findings, [one.line() for one in report.findings]


def test_the_readme_names_every_component_and_recipe():
    """What is not in the README is found by nobody who does not read the manifest."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    hooks = (plugin.kdhub_teacher_hooks, plugin.kdhub_losses, plugin.kdhub_components)
    names = [f"kdlm.{component.name}" for hook in hooks for component in hook()]
    missing = [name for name in names if f"`{name}" not in text and f'"{name}"' not in text]
    missing += [recipe.name for recipe in plugin.kdhub_recipes() if f"`{recipe.name}`" not in text]
    assert not missing
