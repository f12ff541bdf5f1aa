"""The how-to pages for models of other libraries: each block is written to a file and run, with nothing added."""

import os
import re
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import kdhub
from kdhub.config import check_config, load_config
from kdhub.engine.train import train

PAGES = Path(__file__).resolve().parent.parent / "docs/how-to"
FEW = [
    "train_dataloader.num_batch_per_epoch=2",
    "train_dataloader.batch_size=4",
    "val_dataloader.num_batch_per_epoch=1",
]
_FILE = re.compile(r"```python\n# (\w+\.py)\n(.*?)```", re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Write the files of all pages, and stand among them as a user does."""
    for page in (*PAGES.glob("distil-a-*-model.md"), PAGES / "write-a-teacher.md"):
        for name, text in _FILE.findall(page.read_text(encoding="utf-8")):
            (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("digits", "lines", "forest"):
        sys.modules.pop(name, None)


def test_the_teacher_of_the_page_teaches(folder):
    """An author begins with this page; a teacher that does not run on it would be the last one written."""
    if find_spec("sklearn") is None and not os.environ.get("CI"):
        pytest.skip("scikit-learn is not installed")
    lines = (folder / "forest.py").read_text(encoding="utf-8").strip().splitlines()
    assert len(lines) < 30
    runpy.run_path("test_forest.py")["test_forest"]()
    cfg = load_config("forest_student.py", FEW)
    report = check_config(cfg, kdhub.init())
    assert not report.findings, [finding.line() for finding in report.findings]
    assert "top1" in train(cfg).metrics


@pytest.mark.parametrize(
    ("library", "others", "teacher", "student", "load"),
    [
        ("torchvision", ["sklearn"], "teacher.py", "student.py", "load.py"),
        ("timm", ["sklearn", "torchvision"], "timm_teacher.py", "timm_student.py", "timm_load.py"),
        ("transformers", [], "text_teacher.py", "text_student.py", "text_load.py"),
    ],
)
def test_a_page_works_as_it_stands(library, others, teacher, student, load, folder):
    """Somebody who pastes a page and meets an error on it does not come back."""
    missing = [name for name in (library, *others) if find_spec(name) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{', '.join(missing)} is not installed")
    for name in (teacher, student):
        cfg = load_config(name, FEW)
        report = check_config(cfg, kdhub.init())
        assert not report.findings, [finding.line() for finding in report.findings]
        result = train(cfg)
        assert "top1" in result.metrics
    loaded = runpy.run_path(load)["model"]
    last = torch.load(result.work_dir / f"epoch_{cfg.train_cfg.max_epochs}.pth", weights_only=False)["state_dict"]
    assert all(value.equal(last[f"student.net.{name}"]) for name, value in loaded.state_dict().items())
    assert kdhub.engine.workdir.run_card.RunCard.read(result.work_dir).content["student"]["load"]


def test_the_data_set_of_torchvision_on_the_page_is_a_right_config():
    """It downloads, so no test trains on it; its keywords must be right all the same."""
    page = (PAGES / "distil-a-torchvision-model.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(dataset = .*?)```", page, re.DOTALL)
    data = {}
    exec(block[1], data)  # noqa: S102 - our own page
    report = check_config({"train_dataloader": {"dataset": data["dataset"]}}, kdhub.init())
    assert not [one for one in report.findings if one.path.startswith("train_dataloader.dataset")]
