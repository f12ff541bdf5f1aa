"""The manifest, its recipes and its README."""

import json
from pathlib import Path

import pytest

from kdhub.api import Report
from kdhub.config import check_config, load_config
from kdhub.registry import init
from kdhub.testing import assert_plugin_contract
from kdlm import config_rules, plugin


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


def _config(folder, dataset):
    net = {"type": "x", "pretrained_model_name_or_path": folder}
    return {
        "model": {"teacher": {"model": {"net": net}}, "objectives": {"a": 3}},
        "train_dataloader": {"dataset": dataset},
    }


def test_a_model_with_another_vocabulary_is_found(tokenizer, tmp_path):
    """Tokens of one number and another meaning give a plausible loss that trains nonsense."""
    other = tmp_path / "other"
    other.mkdir()
    content = json.loads(Path(tokenizer, "tokenizer.json").read_text())
    first, second = list(content["model"]["vocab"])[10:12]
    vocab = content["model"]["vocab"]
    vocab[first], vocab[second] = vocab[second], vocab[first]
    (other / "tokenizer.json").write_text(json.dumps(content))
    report = Report()
    config_rules.check(_config(str(other), {"tokenizer": tokenizer}), report)
    (finding,) = report.errors
    assert finding.path == "model.teacher.model.net.pretrained_model_name_or_path"
    assert "another tokenizer" in finding.line()


def test_what_cannot_be_compared_is_left_alone(tokenizer, tmp_path):
    """A name on a hub, a folder still to be made, another plugin's config: none of them is wrong."""
    (tmp_path / "tokenizer.json").write_text("[]")
    report = Report()
    configs = [_config(folder, {"tokenizer": tokenizer}) for folder in (tokenizer, "gpt2", "@a/b", str(tmp_path))]
    for cfg in (*configs, {}, {"model": None}, _config("gpt2", None), _config("gpt2", {"tokenizer": 3})):
        config_rules.check(cfg, report)
    assert report.ok
