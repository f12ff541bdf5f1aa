"""The manifest, its recipes and its README."""

from pathlib import Path

from kdgen import plugin
from kdhub.testing import assert_plugin_contract


def test_the_manifest_keeps_the_contract():
    """A plugin of the tree that breaks the contract would teach authors to."""
    assert_plugin_contract("kdgen")


def test_the_readme_names_every_component_and_recipe():
    """What is not in the README is found by nobody who does not read the manifest."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    missing = [one.name for one in plugin.kdhub_components() if f"`kdgen.{one.name}`" not in text]
    assert not missing
