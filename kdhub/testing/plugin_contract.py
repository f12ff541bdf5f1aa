"""What every plugin promises to the users who install it, as one assertion."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from kdhub.errors import KdhubError
from kdhub.plugins import Entry, Loaded, PluginManager
from kdhub.records import LossSpec
from kdhub.registry import init
from kdhub.testing._promise import broken
from kdhub.testing.loss_contract import require_declared_inputs

LOSS_SECTIONS = ("Args", "Inputs", "References", "Requirements", "Relations", "Example")
"""Headings of a loss's docstring, after what it computes."""

BASES = {
    "loss": "torch.nn:Module",
    "adapter": "torch.nn:Module",
    "tap": "kdhub.distill.taps:Tap",
    "distiller": "mmengine.model:BaseModel",
    "model": "torch.nn:Module",
    "optim_wrapper": "mmengine.optim:OptimWrapper",
    "metric": "mmengine.evaluator:BaseMetric",
    "dataset": "torch.utils.data:Dataset",
    "runner_hook": "mmengine.hooks:Hook",
}
"""Kind of component to what its class derives from; the other kinds need only be callable."""


_FRESH = """
import json, sys
from pathlib import Path
from kdhub.plugins import PluginManager, Switches
from kdhub.plugins.scan import Found, Scan
scope, module, path = sys.argv[1:]
found = Found(scope, module, "", "", file=None if "." in module else Path(path))
row = PluginManager(Scan((found,) if scope != "kdhub" else (), ()), Switches()).plugins[-1]
print(json.dumps([row.reason, row.heavy]))
"""
"""Loads one plugin alone and prints why it failed, and what it was the first to import."""


def assert_plugin_contract(name: str, manager: PluginManager | None = None) -> None:
    """Assert all that kdhub and its users take for granted about a plugin.

    It loads (hooks as specified, API level, records; this is where parameters with defaults or keyword-only ones are
    found); its manifest imports nothing heavy; every component can be imported, is what its kind says and has a
    docstring; a loss takes what its record declares and has all sections in its docstring; every recipe is there
    and passes ``kdhub check``.

    Args:
        name: The plugin's name, which is its scope.
        manager: Where it is loaded; ``None`` takes the plugins in force.

    Raises:
        AssertionError: With every broken promise and what to mend, one a line.
    """
    manager = init() if manager is None else manager
    row = _row(name, manager)
    _light_manifest(row)
    failures = [_failure(_component, entry) for entry in manager.components(scope=name)]
    failures += [_failure(_recipe, f"{name}:{recipe.name}", manager) for recipe in row.recipes]
    if any(failures):
        raise AssertionError("\n".join(filter(None, failures)))


def _failure(check: Callable[..., None], *subject: Any) -> str | None:
    try:
        check(*subject)
    except AssertionError as error:
        return str(error)
    return None


def _row(name: str, manager: PluginManager) -> Loaded:
    row = next((row for row in manager.plugins if row.scope == name), None)
    if row is None:
        installed = ", ".join(row.scope for row in manager.plugins)
        broken(f"plugin {name}", f"is not installed; installed are {installed}", "pip install -e . it")
    if row.status != "ok":
        broken(f"plugin {name}", f"is {row.status}: {row.reason}", row.traceback or "mend it")
    return row


def _light_manifest(row: Loaded) -> None:
    """Load the manifest in a fresh Python, call its registration hooks, and look at what was imported."""
    done = subprocess.run(
        [sys.executable, "-c", _FRESH, row.scope, row.module, row.path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    reason, heavy = (done.stderr, ()) if done.returncode else json.loads(done.stdout.splitlines()[-1])
    if reason:
        broken(f"plugin {row.scope}", f"its manifest does not load in a fresh Python: {reason}", "mend the import")
    if heavy:
        broken(
            f"plugin {row.scope}",
            f"loading {row.module} imports {', '.join(heavy)}",
            "name targets as 'module:attribute' and import them nowhere in the manifest or the package's __init__",
        )


def _component(entry: Entry) -> None:
    kind = entry.component.kind
    try:
        target = entry.load()
    except Exception as error:  # noqa: BLE001 (the plugin's code: whatever it raises is its author's to mend)
        broken(entry.type, str(error), "mend the target of its record")
    _of_its_kind(entry.type, kind, target)
    if not target.__doc__:  # not inspect.getdoc: it would show the base class's
        broken(entry.type, "has no docstring", "say what it does: `kdhub info` shows it")
    if isinstance(entry.component, LossSpec):
        _documented_loss(entry.type, inspect.getdoc(target) or "")
        require_declared_inputs(entry.type, _inputs(target), entry.component)
    if kind == "adapter" and (taken := [parameter.name for parameter in _inputs(target)]) != ["value", "like"]:
        broken(entry.type, f"forward takes {', '.join(taken)}", "write forward(self, value, like)")


def _inputs(module: type[Any]) -> list[inspect.Parameter]:
    """Return the parameters of ``forward`` without ``self``."""
    return list(inspect.signature(module.forward).parameters.values())[1:]


def _of_its_kind(name: str, kind: str, target: Any) -> None:
    if not callable(target):
        broken(name, f"is a {type(target).__name__}, not a {kind}", "let the record name a class or a function")
    if kind not in BASES or (not isinstance(target, type) and kind not in ("loss", "adapter", "tap")):
        return
    module, _, attribute = BASES[kind].partition(":")
    base = getattr(importlib.import_module(module), attribute)
    if not (isinstance(target, type) and issubclass(target, base)):
        broken(name, f"is no {kind}", f"derive it from {module}.{attribute}, or change the kind in its record")


def _documented_loss(name: str, doc: str) -> None:
    missing = [section for section in LOSS_SECTIONS if not re.search(rf"^\s*{section}:\s*$", doc, re.MULTILINE)]
    if missing:
        broken(
            name,
            f"its docstring lacks {', '.join(missing)}",
            "write the sections that kdhub.distill.losses.mse.MSE has, each with its heading",
        )


def _recipe(recipe: str, manager: PluginManager) -> None:
    from kdhub.config.check.check import check_config
    from kdhub.config.read.load import load_config

    try:
        report = check_config(load_config(manager.recipe(recipe)), manager)
    except KdhubError as error:
        broken(f"recipe {recipe}", str(error), "ship a config that loads as package data, below the import package")
    if not report.ok:
        lines = "; ".join(finding.line() for finding in report.errors)
        broken(f"recipe {recipe}", f"does not pass `kdhub check`: {lines}", "mend the config")
