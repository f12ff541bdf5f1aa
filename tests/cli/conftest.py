"""The command line in this process, and a config with data that it can train on in a moment."""

import textwrap

import pytest

from kdhub.cli.main import main
from kdhub.plugins import Switches
from kdhub.testing import isolated_plugins

DATA = """
    from mmengine.evaluator import BaseMetric
    from mmengine.registry import DATASETS, METRICS
    from torch.utils.data import Dataset

    from kdhub.testing.toys import segmentation_batch


    @DATASETS.register_module(force=True)
    class ToyImages(Dataset):
        def __init__(self, length=4):
            batch = segmentation_batch(max(length, 1))
            self.samples = [{name: value[i] for name, value in batch.items()} for i in range(length)]

        def __len__(self):
            return len(self.samples)

        def __getitem__(self, index):
            return self.samples[index]


    @METRICS.register_module(force=True)
    class Samples(BaseMetric):
        def process(self, data_batch, data_samples):
            self.results.append(len(data_samples))

        def compute_metrics(self, results):
            return {"samples": float(sum(results))}
"""

CONFIG = """
    custom_imports = dict(imports=['toy_cli_data'])
    model = dict(
        type='kdhub.Distiller',
        student=dict(type='kdhub.testing.toys.ToySegmentor'),
        teacher=dict(
            type='kdhub.ModelTeacher', model=dict(type='kdhub.testing.toys.ToySegmentor', width=16), own_weights=True),
        objectives=dict(logits=dict(loss=dict(type='kdhub.MSE'), student='head', teacher='head')))
    loader = dict(
        batch_size=2,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        dataset=dict(type='ToyImages', length=4))
    train_dataloader = loader
    train_cfg = dict(by_epoch=True, max_epochs=1)
    optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
    test_dataloader = loader
    test_cfg = dict()
    test_evaluator = dict(type='Samples')
"""


class Outcome:
    """What a command printed and returned."""

    def __init__(self, code, captured):
        self.code = code
        self.out = captured.out
        self.err = captured.err


@pytest.fixture
def kdhub(capsys):
    """Run a command in this process, with the plugins of this environment."""

    def run(*arguments):
        capsys.readouterr()
        return Outcome(main([str(argument) for argument in arguments]), capsys.readouterr())

    with isolated_plugins(installed=True, switches=Switches()):
        yield run


@pytest.fixture
def toy_config(tmp_path, install_fake, monkeypatch):
    """A config that trains in a moment; the folder of the test is the current one."""
    install_fake("toy-cli-data", files={"toy_cli_data.py": DATA}, entry_points={})
    path = tmp_path / "toy_config.py"
    path.write_text(textwrap.dedent(CONFIG), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    return path
