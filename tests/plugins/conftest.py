"""Plugins to load: sources of fake distributions, and a loader that sees nothing but them."""

import textwrap

import pytest

from kdhub.plugins import PluginManager, Switches
from kdhub.plugins.scan import Scan, scan

INFO = """
    from kdhub import Command, Component, Diagnostic, LossSpec, PluginInfo, Recipe, hookimpl

    EXTRAS = {"all": ("quick_library", "other_library"), "fast": ("quick_library",)}


    @hookimpl
    def kdhub_plugin_info():
        return PluginInfo(summary="A plugin of a test", api_level=1, tasks=("toy",), extras=EXTRAS)
"""


@pytest.fixture
def install_plugin(install_fake):
    """Make a fake distribution with the manifest ``NAME.plugin``: the mandatory hook, then ``body``."""

    def install(name, body="", *, dist=None, info=INFO, files=None, **contents):
        sources = {
            f"{name}/__init__.py": "",
            f"{name}/plugin.py": textwrap.dedent(info) + textwrap.dedent(body),
            **{f"{name}/{path}": text for path, text in (files or {}).items()},
        }
        contents.setdefault("entry_points", {name: f"{name}.plugin"})
        return install_fake(dist or f"{name}-dist", files=sources, **contents)

    return install


@pytest.fixture
def load_fakes(tmp_path):
    """A manager of the fake distributions alone; keywords are those of `Switches`."""

    def load(**switches):
        scanned = scan()
        fakes = tuple(found for found in scanned.found if not found.dist.startswith("kdhub"))
        problems = tuple(
            problem for problem in scanned.problems if str(tmp_path) in problem.detail or "-dist" in problem.detail
        )
        return PluginManager(Scan(fakes, problems), Switches(**switches))

    return load


@pytest.fixture
def row_of(load_fakes):
    """The row of one plugin, loaded with the given switches."""

    def row(name, **switches):
        return next(row for row in load_fakes(**switches).plugins if row.scope == name)

    return row
