"""What `kdhub doctor` says about an installation for detection."""

import sys
from importlib import metadata
from types import ModuleType

import pytest

import mmcv_ops_torchvision
from kddet import doctor
from kddet.plugin import kdhub_run_summary

INSTALLED = {"onedl-mmdetection": "3.5.1", "onedl-mmcv": "2.3.6", "torchvision": "0.29.1"}


@pytest.fixture
def diagnose(monkeypatch):
    """Return the diagnostics by title, as if these distributions were installed."""

    def run(versions, compiled=False):
        def version(name):
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(doctor.metadata, "version", version)
        monkeypatch.setattr(mmcv_ops_torchvision, "compiled", lambda: compiled)
        return {found.title: found for found in doctor.diagnostics()}

    return run


@pytest.mark.parametrize(("compiled", "said"), [(True, "compiled, of mmcv"), (False, "torchvision 0.29.1 stands in")])
def test_which_operators_are_in_use(diagnose, compiled, said):
    """Two machines that give other boxes: this line tells whether it is the operators."""
    found = diagnose(INSTALLED, compiled)
    assert said in found["mmcv's operators"].detail
    assert {one.level for one in found.values()} == {"ok"}


@pytest.mark.parametrize(
    ("versions", "title", "fix"),
    [
        (INSTALLED | {"mmdet": "3.3.0"}, "mmdet", "pip uninstall"),
        ({"onedl-mmcv": "2.3.6", "torchvision": "0.29.1"}, "mmdet", "pip install onedl-mmdetection"),
        ({"onedl-mmdetection": "3.5.1"}, "mmcv's operators", "pip install onedl-mmcv"),
    ],
    ids=["two owners of one folder", "no mmdet", "no mmcv"],
)
def test_what_fails_has_a_line_to_type(diagnose, versions, title, fix):
    """A diagnosis without a remedy sends people to a search engine."""
    found = diagnose(versions)[title]
    assert found.level == "fail"
    assert fix in found.fix


def test_the_run_card_of_a_detector_names_the_operators(monkeypatch):
    """Two runs that differ by rounding differ for a reason that must be on record; a retriever's report is no place for it."""
    monkeypatch.delitem(sys.modules, "mmdet.models.detectors", raising=False)
    assert kdhub_run_summary() == {}
    monkeypatch.setitem(sys.modules, "mmdet.models.detectors", ModuleType("detectors"))
    assert kdhub_run_summary() == {"mmcv operators": mmcv_ops_torchvision.in_use()}
