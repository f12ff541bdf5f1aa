"""What a library prints when it is imported is not what a user of kdhub wants to read."""

import sys

import pytest

from kdhub.engine.libraries import import_library


@pytest.fixture
def noisy(tmp_path, monkeypatch):
    """A library in mmengine's form that warns and prints at import."""
    folder = tmp_path / "noisylib"
    folder.mkdir()
    (folder / "__init__.py").write_text("import warnings\nwarnings.warn('operators are missing')\nprint('no cloud')\n")
    (folder / "utils.py").write_text(
        "seen = []\ndef register_all_modules(init_default_scope=True):\n    seen.append(1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "noisylib"
    for name in ("noisylib", "noisylib.utils"):
        sys.modules.pop(name, None)


def test_a_library_is_imported_without_its_noise(noisy, capsys, recwarn):
    """Two lines about parts that nobody uses make a new user doubt the installation, and hide lines that matter."""
    import_library({"default_scope": noisy})
    assert sys.modules["noisylib.utils"].seen == [1]
    assert not recwarn.list
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("scope", [None, "mmengine", "nosuchlibrary"])
def test_what_is_not_there_is_left_to_mmengine(scope):
    """It names the scope and where it stands; a second message here would only be less precise."""
    import_library({"default_scope": scope} if scope else {})
