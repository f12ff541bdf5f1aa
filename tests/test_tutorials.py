"""The tutorials: each block is written to a file, and the commands of the page are typed."""

import re
import runpy
import sys
from pathlib import Path

import pytest

from kdhub.cli.main import main
from kdhub.plugins import Switches
from kdhub.testing import isolated_plugins

PAGES = Path(__file__).resolve().parent.parent / "docs/tutorials"
_FILE = re.compile(r"```python\n# (\w+\.py)\n(.*?)```", re.DOTALL)
FEW = ["--cfg-options", "train_cfg.max_epochs=1", "train_cfg.val_interval=1", "teacher:train_cfg.max_epochs=1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Write the files of both pages, and stand among them as a reader does."""
    for page in PAGES.glob("*.md"):
        for name, text in _FILE.findall(page.read_text(encoding="utf-8")):
            (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with isolated_plugins(installed=True, switches=Switches()):
        yield tmp_path
    for name in ("spirals", "my_loss"):
        sys.modules.pop(name, None)


def test_the_tutorials_work(folder, capsys):
    """Somebody whose first ten minutes end in an error does not come back."""
    assert main(["check", "teacher.py"]) == main(["check", "student.py"]) == 0
    assert "no errors, no warnings" in capsys.readouterr().out
    assert main(["train", "student.py", "--alone", *FEW]) == 0
    assert capsys.readouterr().out.startswith("METRIC")
    assert Path("work_dirs/teacher/student/model.safetensors").is_file()
    assert runpy.run_path("load.py")["net"].head.out_features == 3
    assert main(["-p", "./my_loss.py", "info", "my_loss.CenteredMSE"]) == 0
    assert main(["train", "my_student.py", "-p", "./my_loss.py", *FEW]) == 0
    assert main(["report", "work_dirs/student", "work_dirs/my_student"]) == 0
    tests = runpy.run_path("test_my_loss.py")
    tests["test_contract"]()
    tests["test_a_shift_of_all_logits_costs_nothing"]()
