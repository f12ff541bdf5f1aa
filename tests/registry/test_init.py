"""``kdhub.init``: once a process, from any door, and never twice."""

import os
import subprocess
import sys

import pytest
from mmengine.registry import MODELS

import kdhub
from kdhub.errors import UsageError
from kdhub.plugins import Switches
from kdhub.registry import activate
from kdhub.testing import isolated_plugins


@pytest.fixture
def nothing_in_force():
    """No manager at first, and the former one afterwards."""
    former = activate(None)
    yield
    activate(former)


def test_it_is_idempotent(nothing_in_force):
    """Every class that builds from a config calls it; loading anew would make a second class of every component."""
    manager = kdhub.init()
    assert kdhub.init() is manager
    assert kdhub.init(manager.switches) is manager
    assert "kdhub" in MODELS.children


def test_other_switches_load_anew(nothing_in_force):
    """The command line must win over an import that called it first."""
    first = kdhub.init()
    alone = kdhub.init(Switches(no_plugins=True))
    assert alone is not first
    assert {row.status for row in alone.plugins[1:]} <= {"disabled"}
    assert kdhub.init() is alone


def test_the_environment_is_read(nothing_in_force, monkeypatch):
    """A worker process has no command line of ours."""
    monkeypatch.setenv("KDHUB_PLUGINS", "")
    assert {row.status for row in kdhub.init().plugins[1:]} <= {"disabled"}


def test_a_bad_switch_leaves_the_former_plugins_in_force(nothing_in_force):
    """After a mistake on the command line a notebook must go on working."""
    manager = kdhub.init()
    with pytest.raises(UsageError):
        kdhub.init(Switches(modules=("missing.py",)))
    assert kdhub.init() is manager


def test_autoload_is_the_door_for_other_people_s_programs():
    """custom_imports=dict(imports=['kdhub.autoload']) is all that mmseg's own tools/train.py needs."""
    code = (
        "from mmengine.config import Config\n"
        "import tempfile, pathlib\n"
        "path = pathlib.Path(tempfile.mkdtemp(), 'config.py')\n"
        "path.write_text(\"custom_imports = dict(imports=['kdhub.autoload'])\")\n"
        "Config.fromfile(path)\n"
        "from mmengine.registry import MODELS\n"
        "print(MODELS.get('kdhub.MSE').__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["MSE"], done.stderr


def test_isolated_plugins_leave_nothing_behind(install_fake):
    """A test of a plugin must not decide the result of the next."""
    before = kdhub.init()
    source = "from kdhub import PluginInfo, hookimpl\n@hookimpl\ndef kdhub_plugin_info():\n"
    source += "    return PluginInfo(summary='x', api_level=1)\n"
    install_fake("kdgiven", files={"kdgiven.py": source}, entry_points={})
    import kdgiven

    with isolated_plugins(kdgiven) as manager:
        assert [(row.scope, row.status) for row in manager.plugins] == [("kdhub", "ok"), ("kdgiven", "ok")]
        assert kdhub.init() is manager
        assert "kdgiven" in MODELS.children
    assert kdhub.init() is before
    assert "kdgiven" not in MODELS.children


def test_isolated_plugins_raise_a_broken_manifest(install_fake):
    """A row nobody looks at would let the author's test pass."""
    install_fake("kdwrong", files={"kdwrong.py": "import kdhub"}, entry_points={})
    import kdwrong

    with (
        pytest.raises(kdhub.PluginError, match="mandatory hook kdhub_plugin_info is missing"),
        isolated_plugins(kdwrong),
    ):
        pass


def test_the_fixture_has_the_installed_plugins(kdhub_plugins):
    """Authors test against what is installed, their own plugin among it."""
    assert kdhub.init() is kdhub_plugins
    assert kdhub_plugins.plugins[0].scope == "kdhub"
