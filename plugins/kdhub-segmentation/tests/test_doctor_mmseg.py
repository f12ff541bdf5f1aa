"""What `kdhub doctor` says of an installation for segmentation."""

from importlib import metadata

import pytest

from kdseg import doctor, operators
from kdseg.operators import has_mmdet, has_operators


@pytest.fixture
def diagnose(monkeypatch):
    """A function that diagnoses an installation of the given distributions, by title."""

    def run(versions, *, compiled=False, weights=True):
        def version(name):
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(doctor.metadata, "version", version)
        monkeypatch.setattr(doctor, "has_operators", lambda: compiled)
        monkeypatch.setattr(doctor, "has_mmdet", lambda: False)
        if not weights:
            monkeypatch.setattr(doctor, "WEIGHTS", ("no_such_package",))
        return {one.title: one for one in doctor.diagnostics()}

    return run


def test_this_installation_is_in_order():
    """The stack of the constraints file must not be told to be broken."""
    assert [one.level for one in doctor.diagnostics()][:2] == ["ok", "ok"]


def test_missing_operators_are_no_failure(diagnose):
    """Nearly all models train without them; a red line would send people to a compiler."""
    found = diagnose({"onedl-mmcv": "2.3.6", "onedl-mmsegmentation": "1.4.2"})["mmcv"]
    assert found.level == "ok"
    assert "2.3.6, without compiled operators" in found.detail
    assert "CCHead" in found.detail
    assert "Mask2FormerHead" in found.detail
    assert "without" not in diagnose({"onedl-mmcv": "2.3.6"}, compiled=True)["mmcv"].detail


@pytest.mark.parametrize(
    ("versions", "fix"),
    [
        ({"onedl-mmsegmentation": "1.4.2", "mmsegmentation": "1.2.2"}, "pip uninstall"),
        ({}, "pip install onedl-mmsegmentation"),
    ],
    ids=["both", "none"],
)
def test_two_owners_of_one_folder_fail(diagnose, versions, fix):
    """Uninstalling either then breaks the other, and which files are in use nobody knows."""
    found = diagnose(versions)["mmseg"]
    assert found.level == "fail"
    assert fix in found.fix


def test_missing_weights_have_a_line_to_type(diagnose):
    """The recipe is the first thing people run."""
    found = diagnose({}, weights=False)["weights of the CamVid recipe"]
    assert found.level == "warn"
    assert "kdhub-segmentation[demo]" in found.fix


def test_operators_are_found_as_files(tmp_path, monkeypatch):
    """Importing mmcv to look would import torch in `kdhub check`."""
    monkeypatch.setattr(operators.importlib.util, "find_spec", lambda name: _Spec([str(tmp_path)]))
    assert not has_operators()
    (tmp_path / "_ext.cpython-311-x86_64-linux-gnu.so").touch()
    assert has_operators()
    monkeypatch.setattr(operators.importlib.util, "find_spec", lambda name: None)
    assert not has_operators()
    assert not has_mmdet()


class _Spec:
    def __init__(self, folders):
        self.submodule_search_locations = folders
