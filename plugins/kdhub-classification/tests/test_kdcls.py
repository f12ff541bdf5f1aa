"""Digits, few labels, the two recipes in one command, and mean teacher."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from kdcls import plugin
from kdcls.digits import UNLABELLED, Digits
from kdcls.few_labels import FewLabels
from kdcls.nets import DigitNet
from kdhub import UsageError
from kdhub.config import check_config, load_config
from kdhub.engine.train import train
from kdhub.registry import init
from kdhub.testing import assert_plugin_contract, assert_resume_exact


def test_the_manifest_keeps_the_contract():
    """A plugin of the tree that breaks the contract would teach authors to."""
    assert_plugin_contract("kdcls")


def test_splits_share_no_image():
    """An image in two splits makes the reported figure one on training data."""
    splits = {name: Digits(name) for name in ("train", "val", "test")}
    assert [len(one) for one in splits.values()] == [1097, 300, 400]
    assert all(one.images.shape[1:] == (1, 8, 8) for one in splits.values())
    assert all(set(one.labels.tolist()) == set(range(10)) for one in splits.values())
    assert all(float(one.images.min()) >= 0 and float(one.images.max()) <= 1 for one in splits.values())


def test_few_labels_are_drawn_evenly_and_repeatably():
    """A class without a label is never learned; another draw each time is another experiment each time."""
    data, again, other = Digits(labelled=30), Digits(labelled=30), Digits(labelled=30, seed=1)
    assert np.bincount(data.labels[torch.from_numpy(data.has_label)], minlength=10).tolist() == [3] * 10
    assert (data.labels[torch.from_numpy(~data.has_label)] == UNLABELLED).all()
    assert data.fingerprint() == again.fingerprint() != other.fingerprint()
    assert data.fingerprint() != Digits().fingerprint()


@pytest.mark.parametrize("labelled", [0, 5, 15, 10_000, "30", -10])
def test_a_number_of_labels_that_classes_cannot_share_is_refused(labelled):
    """Rounded down it would train with fewer labels than was written."""
    with pytest.raises(UsageError, match="labelled"):
        Digits(labelled=labelled)


class Labels:
    """Says which samples have a label."""

    def __init__(self, labelled, unlabelled):
        self.has_label = np.array([True] * labelled + [False] * unlabelled)

    def __len__(self):
        return len(self.has_label)


@given(st.integers(1, 7), st.integers(1, 40), st.integers(2, 5), st.integers(0, 3))
def test_each_group_has_one_label_and_each_unlabelled_sample_comes(labelled, unlabelled, every, epoch):
    """A batch without a label has a loss of NaN; a sample that never comes is lost."""
    data = Labels(labelled, unlabelled)
    sampler = FewLabels(data, every, seed=3)
    sampler.set_epoch(epoch)
    order = np.array(list(sampler))
    assert len(order) == len(sampler)
    groups = data.has_label[order].reshape(-1, every)
    assert (groups.sum(1) == 1).all()
    assert set(np.flatnonzero(~data.has_label)) <= set(order)
    assert (order == np.array(list(sampler))).all()


def test_each_label_comes_as_often_as_the_others():
    """A pass that begins with the same labels each time would show some twice as often as others."""
    data = Labels(7, 30)
    sampler, seen = FewLabels(data, 4, seed=0), []
    for epoch in range(7):
        sampler.set_epoch(epoch)
        seen += [index for index in sampler if data.has_label[index]]
    assert np.bincount(seen).tolist() == [10] * 7


@pytest.mark.parametrize("data", [Labels(0, 5), Labels(5, 0), [1, 2, 3]], ids=["none", "all", "unknown"])
def test_data_without_both_kinds_are_refused(data):
    """The sampler would end in an index error, or never yield a label."""
    with pytest.raises(UsageError, match="has_label|labelled"):
        FewLabels(data)


def test_a_net_draws_in_training_alone():
    """Noise in evaluation would cost points and blame the method."""
    net = DigitNet(noise=0.5, shift=1, dropout=0.5)
    images = torch.rand(4, 1, 8, 8)
    assert not torch.equal(net(images), net(images))
    net.eval()
    assert torch.equal(net(images), net(images))


RECIPES = ("digits-teacher", "digits-student", "digits-few-labels", "digits-mean-teacher")


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_pass_the_check(name):
    """A recipe is what a newcomer types first."""
    report = check_config(load_config(f"kdcls:{name}"), init())
    assert not report.findings, [one.line() for one in report.findings]


def test_teacher_and_student_in_one_command(tmp_path):
    """The teacher of the recipe is trained first, and the student hears it."""
    few = [
        "train_cfg.max_epochs=1",
        "train_cfg.val_interval=1",
        "teacher:train_cfg.max_epochs=1",
        "teacher:train_cfg.val_interval=1",
    ]
    cfg = load_config("kdcls:digits-student", few)
    cfg.work_dir = str(tmp_path / "run")
    result = train(cfg)
    assert (tmp_path / "run/teacher/student/model.safetensors").is_file()
    assert result.metrics["top1"] > 0


def test_mean_teacher_resumes_exactly(tmp_path):
    """Its average, and the order of labels, are a state that a checkpoint without them would lose in silence."""
    few = ["train_cfg.max_iters=12", "train_cfg.val_interval=6", "default_hooks.checkpoint.interval=4"]
    assert_resume_exact("kdcls:digits-mean-teacher", at=7, tmp_path=tmp_path, cfg_options=few)


def test_the_readme_names_every_component_and_recipe():
    """What is not in the README is found by nobody who does not read the manifest."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    hooks = (plugin.kdhub_losses, plugin.kdhub_adapters, plugin.kdhub_components)
    names = [f"kdcls.{component.name}" for hook in hooks for component in hook()]
    missing = [name for name in names if f"`{name}" not in text and f'"{name}"' not in text]
    missing += [recipe.name for recipe in plugin.kdhub_recipes() if f"`{recipe.name}`" not in text]
    assert not missing
