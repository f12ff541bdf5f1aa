"""The promise to third parties: the plugin that the guide writes, made outside the tree, keeps its contracts and trains."""

import json
import os
import subprocess
import sys

import pytest

from kdhub.plugins import Switches
from kdhub.testing import fake_distribution, isolated_plugins

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

GUIDE = "docs/how-to/write-a-plugin.md"
TRAIN = """
import json

import torch
from mmengine.optim import OptimWrapper

import kdhub
from kdhub.distill.distiller import Distiller
from kdhub.distill.teachers import ModelTeacher
from kdhub.testing.toys import ToySegmentor, segmentation_batch

kdhub.init()
torch.manual_seed(0)
model = Distiller(
    ToySegmentor(),
    teacher=ModelTeacher(ToySegmentor(width=16)),
    objectives=dict(attention=dict(
        loss=dict(type="kdoutside.AttentionTransfer"),
        student="backbone",
        teacher=dict(type="kdoutside.SquaredOutput", path="backbone"),
        adapter=dict(type="kdoutside.ChannelMean"),
        weight=1000.0)),
    task_weight=0.0)
wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.05))
losses = [float(model.train_step(segmentation_batch(), wrapper)["loss_attention"]) for _ in range(40)]
shift = float(model.objectives["attention"].adapters["student"][0].shift)
print(json.dumps(dict(first=losses[0], last=losses[-1], shift=shift)))
"""


@pytest.fixture
def outside(tmp_path, page_blocks):
    """The folder with the installed plugin of the guide, each file as a block of the page has it."""
    files = {"kdoutside/__init__.py": ""}
    for block in page_blocks(GUIDE):
        first = block.partition("\n")[0]
        if "/" in first:
            files[first.removeprefix("# ")] = block
    (declared,) = page_blocks(GUIDE, "toml")
    project = tomllib.loads(declared)["project"]
    with fake_distribution(
        tmp_path,
        project["name"],
        project["version"],
        files={**files, "train.py": TRAIN},
        entry_points=project["entry-points"]["kdhub.plugins"],
        requires=project["dependencies"],
    ):
        yield tmp_path


def test_the_plugin_of_the_guide_keeps_the_contracts_of_the_guide(outside):
    """An author who follows the page to its last section must see his tests pass."""
    with isolated_plugins(installed=True, switches=Switches(only=frozenset({"kdoutside"}))):
        source = (outside / "tests/test_contracts.py").read_text(encoding="utf-8")
        names = {}
        exec(source, names)  # noqa: S102
        tests = [value for name, value in names.items() if name.startswith("test_")]
        assert len(tests) == 3
        for test in tests:
            test()


def test_a_plugin_outside_the_tree_trains(outside):
    """If a third party had to change the core for a tap, an adapter or a loss, kdhub would be one more fork."""
    environ = {
        **os.environ,
        "PYTHONPATH": f"{outside}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "KDHUB_PLUGINS": "kdoutside",
        "KDHUB_PLUGIN_ERRORS": "raise",
    }
    done = subprocess.run(
        [sys.executable, outside / "train.py"], env=environ, capture_output=True, text=True, check=False, cwd=outside
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["last"] < 0.5 * result["first"]
    assert result["shift"] != 0.0
