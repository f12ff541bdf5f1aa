"""Plugins named by ``-p``: the first plugin an author writes is one file."""

import multiprocessing
import sys

import pytest

from kdhub.errors import UsageError

SOURCE = """
from kdhub import LossSpec, PluginInfo, hookimpl


@hookimpl
def kdhub_plugin_info():
    return PluginInfo(summary="One file", api_level=1)


@hookimpl
def kdhub_losses():
    return [LossSpec(name="MyLoss", target="my_first_loss:MyLoss", summary="x")]


class MyLoss:
    pass
"""


@pytest.fixture
def one_file(tmp_path):
    """A plugin in one file, forgotten afterwards."""
    path = tmp_path / "my_first_loss.py"
    path.write_text(SOURCE, encoding="utf-8")
    search_path = list(sys.path)
    yield path
    sys.path[:] = search_path
    sys.modules.pop("my_first_loss", None)


def test_a_file_is_a_plugin_named_after_its_stem(one_file, load_fakes):
    """The tutorial's first step: no package, no installation, and the target is in the file itself."""
    manager = load_fakes(modules=(str(one_file),))
    row = manager.plugins[-1]
    assert (row.scope, row.status, row.source.version) == ("my_first_loss", "ok", "")
    assert row.source.dist == str(one_file)
    assert manager.find("my_first_loss.MyLoss", "loss").load() is sys.modules["my_first_loss"].MyLoss


def test_rows_are_sorted_by_name(one_file, install_plugin, load_fakes):
    """A list in the order of loading is another list on every machine."""
    install_plugin("zlast")
    install_plugin("kdfirst")
    rows = load_fakes(modules=(str(one_file),)).plugins
    assert [row.scope for row in rows] == ["kdhub", "kdfirst", "my_first_loss", "zlast"]


def test_loading_it_again_gives_the_same_class(one_file, load_fakes):
    """A second class of the same name would fail every isinstance check."""
    first = load_fakes(modules=(str(one_file),)).find("my_first_loss.MyLoss").load()
    assert load_fakes(modules=(str(one_file),)).find("my_first_loss.MyLoss").load() is first


def test_a_spawned_worker_finds_the_class(one_file, load_fakes):
    """A data loader that spawns its workers sends objects by the name of their class's module."""
    instance = load_fakes(modules=(str(one_file),)).find("my_first_loss.MyLoss").load()()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(type(instance).__repr__, (instance,)).startswith("<my_first_loss.MyLoss object")


def test_a_broken_file_is_a_row_and_leaves_no_module(one_file, load_fakes):
    """A half imported module left in sys.modules would pass for a good one the next time."""
    one_file.write_text(SOURCE + "\n1 / 0\n", encoding="utf-8")
    row = load_fakes(modules=(str(one_file),)).plugins[-1]
    assert (row.status, row.path) == ("broken", str(one_file))
    assert "ZeroDivisionError" in row.reason
    assert "my_first_loss" not in sys.modules


def test_an_importable_module_is_a_plugin_named_after_its_package(install_fake, load_fakes):
    """A plugin under development, on the path but not installed."""
    source = SOURCE.replace("my_first_loss", "kddraft.parts")
    install_fake("kddraft", files={"kddraft/__init__.py": "", "kddraft/plugin.py": source}, entry_points={})
    row = load_fakes(modules=("kddraft.plugin",)).plugins[-1]
    assert (row.scope, row.status) == ("kddraft", "ok")


def test_an_installed_plugin_can_be_loaded_alone(install_plugin, load_fakes):
    """--no-plugins -p kdone is how one finds out which plugin is at fault."""
    install_plugin("kdone")
    install_plugin("kdtwo")
    rows = load_fakes(no_plugins=True, modules=("kdone",)).plugins
    assert [(row.scope, row.status) for row in rows[1:]] == [("kdone", "ok"), ("kdtwo", "disabled")]


def test_a_file_with_the_name_of_an_installed_plugin_is_a_conflict(install_plugin, load_fakes, tmp_path):
    """The file would be found under another module than the one it is."""
    install_plugin("kdsame")
    (tmp_path / "kdsame.py").write_text(SOURCE, encoding="utf-8")
    with pytest.raises(UsageError, match="a module named 'kdsame' exists already"):
        load_fakes(modules=(str(tmp_path / "kdsame.py"),))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("missing.py", "no such file"),
        ("My-Loss.py", "cannot be one"),
        ("json.py", "a module named 'json' exists already"),
        ("./my_loss", "no installed plugin, module or file of that name"),
        ("no_such_module_anywhere", "no installed plugin, module or file of that name"),
    ],
)
def test_what_cannot_be_loaded_is_refused(load_fakes, tmp_path, value, reason):
    """The user asked for exactly this plugin, so a row in a list is too quiet."""
    for name in ("My-Loss.py", "json.py"):
        (tmp_path / name).write_text(SOURCE, encoding="utf-8")
    with pytest.raises(UsageError, match=reason):
        load_fakes(modules=(str(tmp_path / value) if value.endswith(".py") else value,))
