"""A plugin whose components are in every root, declared in mmengine's registries for one test."""

import pytest

from kdhub.plugins import PluginManager, Switches
from kdhub.plugins.scan import Scan, scan
from kdhub.registry import activate

MANIFEST = """
from kdhub import Component, LossSpec, PluginInfo, hookimpl


@hookimpl
def kdhub_plugin_info():
    return PluginInfo(summary="A plugin of a test", api_level=1)


@hookimpl
def kdhub_losses():
    return [LossSpec(name="ToyLoss", target="kdtoy.parts:ToyLoss", summary="x")]


@hookimpl
def kdhub_components():
    yield Component(kind="metric", name="ToyMetric", target="kdtoy.parts:ToyMetric", summary="x")
    yield Component(kind="runner_hook", name="ToyHook", target="kdtoy.parts:ToyHook", summary="x")
    yield Component(kind="collate", name="toy_collate", target="kdtoy.parts:toy_collate", summary="x")
    yield Component(kind="index", name="NeedsLibrary", target="kdtoy.needs:NeedsLibrary", summary="x")
"""
PARTS = """
class ToyLoss:
    def __init__(self, weight, axis=1, *, strict=False):
        if weight == "text":
            weight + 1
        self.weight, self.axis, self.strict = weight, axis, strict


class ToyMetric: pass
class ToyHook: pass
class NotDeclared: pass
def toy_collate(batch, **options): return batch, options
"""


@pytest.fixture
def toy(install_fake):
    """Plugin ``kdtoy``, which works, and ``kdsad``, which does not."""
    files = {"kdtoy/__init__.py": "", "kdtoy/plugin.py": MANIFEST, "kdtoy/parts.py": PARTS}
    files["kdtoy/needs.py"] = "import a_missing_library"
    install_fake("kdtoy-dist", files=files, entry_points={"kdtoy": "kdtoy.plugin"})
    broken = {"kdsad/__init__.py": "", "kdsad/plugin.py": "raise ValueError('torn')"}
    install_fake("kdsad-dist", files=broken, entry_points={"kdsad": "kdsad.plugin"})
    fakes = tuple(found for found in scan().found if found.name in ("kdtoy", "kdsad"))
    former = activate(PluginManager(Scan(fakes, ()), Switches()))
    yield
    activate(former)
