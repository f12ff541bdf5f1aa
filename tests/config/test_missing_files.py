"""Weights and data that are not there: said by the check, with the place in the config, and not after a minute of building."""

from pathlib import Path

import pytest

from kdhub.checkpoint import read_checkpoint
from kdhub.config import check_config
from kdhub.errors import UsageError
from kdhub.testing import isolated_plugins


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder to work in, with a teacher and data."""
    (tmp_path / "teacher.pth").touch()
    (tmp_path / "camvid").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_missing_checkpoint_and_data_folder_are_warnings(findings, valid, files):
    """The library's own error names neither the key nor the folder it looked in."""
    valid["model"]["teacher"]["checkpoint"] = "teachr.pth"
    valid["load_from"] = "student.pth"
    valid["val_dataloader"]["dataset"]["data_root"] = str(files / "canvid")
    found = findings(valid)
    assert {finding.level for finding in found.values()} == {"warning"}
    assert found.keys() == {"model.teacher.checkpoint", "load_from", "val_dataloader.dataset.data_root"}
    assert found["model.teacher.checkpoint"].near == ("teacher.pth",)
    assert found["model.teacher.checkpoint"].got == f"teachr.pth, from {files}"
    assert found["val_dataloader.dataset.data_root"].near == (str(files / "camvid"),)


@pytest.mark.parametrize("name", ["teacher.pth", "https://host/a.pth", "torchvision://resnet18", "org/model"])
def test_what_is_there_or_is_no_file_is_left_alone(findings, valid, files, name):
    """Libraries know models by name and by address."""
    valid["model"]["teacher"]["checkpoint"] = name
    valid["load_from"] = name
    valid["train_dataloader"]["dataset"]["data_root"] = "s3://bucket/camvid"
    assert findings(valid) == {}


def test_what_cannot_be_looked_at_is_a_warning(findings, valid, files, monkeypatch):
    """The check of a whole config died with a traceback for one name."""

    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    valid["load_from"] = "student.pth"
    valid["model"]["teacher"]["checkpoint"] = "a" * 300 + ".pth"
    assert findings(valid).keys() == {"model.teacher.checkpoint", "load_from"}


RECIPES = """
    from kdhub import PluginInfo, Recipe, hookimpl

    @hookimpl
    def kdhub_plugin_info():
        return PluginInfo(summary="Recipes", api_level=1)

    @hookimpl
    def kdhub_recipes():
        for name in ("broken", "with-folder", "without-folder"):
            yield Recipe(name, f"configs/{name}.py", "One", "toy", "teacher", "student", "cpu-minutes")
"""


@pytest.mark.parametrize(
    ("file", "recipe"),
    [
        ("runs/teacher/student/student.pth", "kdrec:with-folder"),
        ("./runs/teacher/iter_9.pth", "kdrec:with-folder"),
        ("work_dirs/without-folder/student_best/model.safetensors", "kdrec:without-folder"),
        ("runs/teacher-2/student/student.pth", None),
        ("runs/student.pth", None),
    ],
)
def test_the_recipe_that_writes_a_missing_file_is_named(file, recipe, install_fake, monkeypatch, tmp_path, valid):
    """A recipe's first error was a path in work_dirs that no page explains."""
    files = {
        "kdrec/__init__.py": "",
        "kdrec/plugin.py": RECIPES,
        "kdrec/configs/broken.py": "1 / 0\n",
        "kdrec/configs/with-folder.py": "work_dir = 'runs/teacher'\n",
        "kdrec/configs/without-folder.py": "a = 1\n",
    }
    install_fake("kdhub-rec", files=files, entry_points={"kdrec": "kdrec.plugin"})
    monkeypatch.chdir(tmp_path)
    import kdrec.plugin

    valid["model"]["teacher"]["checkpoint"] = file
    wanted = f"train it first: kdhub train {recipe}" if recipe else None
    with isolated_plugins(kdrec.plugin) as manager:
        report = check_config({"model": valid["model"]}, manager)
        (found,) = [one for one in report.findings if one.path == "model.teacher.checkpoint"]
        assert found.fix == wanted
        with pytest.raises(UsageError, match="no such checkpoint") as caught:  # as any command reads it
            read_checkpoint(file)
    assert caught.value.fix == wanted
