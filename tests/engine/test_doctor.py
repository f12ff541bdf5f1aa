"""What `kdhub doctor` says of the core's own stack."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from kdhub.engine import doctor
from kdhub.records import Diagnostic


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Pretend that exactly these distributions are installed."""
    found: dict[str, str] = {"torch": "2.8.0", "onedl-mmengine": "0.10.12"}

    def version(name: str) -> str:
        if name not in found:
            raise metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(doctor.metadata, "version", version)
    return found


def diagnosed(title: str) -> Diagnostic:
    """Return one line of the doctor's."""
    return next(one for one in doctor.diagnose() if one.title == title)


def test_this_installation_is_well() -> None:
    """A doctor that complains about a working installation is not listened to."""
    assert [one for one in doctor.diagnose() if one.level == "fail"] == []


def test_both_mmengines(installed: dict[str, str]) -> None:
    """Two distributions that write one folder give a mixture of both versions, and errors that fit neither."""
    installed["mmengine"] = "0.10.7"
    found = diagnosed("mmengine")
    assert found.level == "fail"
    assert "own the same folder" in found.detail
    assert "pip uninstall" in found.fix


def test_torch_that_loads_unsafely(installed: dict[str, str]) -> None:
    """Before 2.6 the limited reader itself could be made to run code."""
    installed["torch"] = "2.5.1"
    assert diagnosed("torch").level == "fail"
    installed["torch"] = "2.6.0+cpu"
    assert diagnosed("torch").level == "ok"


def test_torchvision_for_another_torch(installed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A mismatched torchvision fails on import with a missing operator."""
    installed["torchvision"] = "0.29.1"
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ["numpy", "torch==2.9.0"])
    found = diagnosed("torchvision")
    assert found.level == "fail"
    assert "built for torch==2.9.0, but torch is 2.8.0" in found.detail
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ["torch==2.8.0"])
    assert diagnosed("torchvision").level == "ok"


def test_no_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mmengine imports cv2 without declaring it."""
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    found = diagnosed("OpenCV")
    assert (found.level, found.fix) == ("fail", "pip install opencv-python-headless")


@pytest.mark.parametrize("other", ["opencv-python", "opencv-contrib-python"])
def test_two_opencvs(installed: dict[str, str], other: str) -> None:
    """Two distributions of one version look harmless, until pip removes one of them and with it the files of both."""
    installed["opencv-python-headless"] = installed[other] = "5.0.0.93"
    found = diagnosed("OpenCV")
    assert found.level == "warn"
    assert f"opencv-python-headless 5.0.0.93, {other} 5.0.0.93 own the same folder" in found.detail
    assert found.fix.startswith(f"pip uninstall -y {other}; pip install --force-reinstall")
    del installed[other]
    assert diagnosed("OpenCV").level == "ok"


def test_data_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that names no folder makes every data set look absent."""
    monkeypatch.setenv("KDHUB_DATA", str(tmp_path))
    assert diagnosed("data").level == "ok"
    monkeypatch.setenv("KDHUB_DATA", str(tmp_path / "absent"))
    assert diagnosed("data").level == "fail"


def test_little_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that dies of a full disk at night was told so before."""
    usage = doctor.shutil.disk_usage("/")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage._replace(free=1024**3))
    assert diagnosed("disk").level == "warn"
