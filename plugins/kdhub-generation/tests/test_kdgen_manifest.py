"""The manifest, its recipes and its README."""

from pathlib import Path

import pytest

from kdgen import plugin
from kdhub.config import check_config, load_config
from kdhub.registry import init
from kdhub.testing import assert_plugin_contract


def test_the_manifest_keeps_the_contract():
    """A plugin of the tree that breaks the contract would teach authors to."""
    assert_plugin_contract("kdgen")


@pytest.mark.parametrize("name", [recipe.name for recipe in plugin.kdhub_recipes()])
def test_recipes_pass_the_check(name):
    """A recipe is what a newcomer types first."""
    report = check_config(load_config(f"kdgen:{name}"), init())
    assert not report.findings, [one.line() for one in report.findings]


@pytest.mark.parametrize(
    ("recipe", "data"),
    [
        ("ring-teacher", "kdgen.NoiseDataset"),
        ("ring-swiftbrush", "kdgen.RingData"),
        ("ring-boot", "kdgen.Images"),
        ("ring-agd", "kdgen.NoiseDataset"),
    ],
)
def test_data_of_the_wrong_kind_are_an_error_of_the_check(recipe, data):
    """Noise taken for data makes a teacher of noise, and data taken for noise a student of nothing; both curves look fine."""
    cfg = load_config(f"kdgen:{recipe}")
    cfg.train_dataloader.dataset.type = data
    found = [one.line() for one in check_config(cfg, init()).errors if "trains on" in one.line()]
    assert len(found) == 1
    assert "train_dataloader.dataset.type" in found[0]


def test_the_readme_names_every_component_and_recipe():
    """What is not in the README is found by nobody who does not read the manifest."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    missing = [one.name for one in plugin.kdhub_components() if f"`kdgen.{one.name}`" not in text]
    missing += [recipe.name for recipe in plugin.kdhub_recipes() if f"kdgen:{recipe.name}" not in text]
    assert not missing
