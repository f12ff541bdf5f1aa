"""Every hook of kdhub, in the order of a run's life: manifest, configuration, run time, end of run.

A plugin implements any of these as plain functions in its manifest module (``kdseg.plugin``), decorated with
``kdhub.hookimpl``. Parameters are taken by name; an implementation may leave out those it does not need, and may have
neither defaults nor keyword-only parameters (pluggy would drop them in silence; the contract test refuses them).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from torch import nn

    from kdhub.findings import Report
    from kdhub.records import Command, Component, Diagnostic, LossSpec, PluginInfo, Recipe

PROJECT = "kdhub"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


# ---------------------------------------------------------------- manifest: once after load, must not import torch


@hookspec
def kdhub_plugin_info() -> PluginInfo:  # type: ignore[empty-body]
    """Called once, right after the manifest is imported; the only mandatory hook.

    Raising, or returning anything but a `PluginInfo`, marks the plugin ``broken``. New in API level 1.
    """


@hookspec
def kdhub_teacher_hooks() -> Iterable[Component]:  # type: ignore[empty-body]
    """Called once after `kdhub_plugin_info`: taps and teacher wrappers, that is, how knowledge is read.

    Records of kind ``tap`` or ``teacher``. Raising marks the plugin ``broken``. New in API level 1.
    """


@hookspec
def kdhub_adapters() -> Iterable[Component]:  # type: ignore[empty-body]
    """Called once after `kdhub_plugin_info`: how a student's value is brought into the teacher's space.

    Records of kind ``adapter``. Raising marks the plugin ``broken``. New in API level 1.
    """


@hookspec
def kdhub_losses() -> Iterable[LossSpec]:  # type: ignore[empty-body]
    """Called once after `kdhub_plugin_info`: how student and teacher are compared.

    The declared inputs let `kdhub check` bind a loss before anything is built. Raising marks the plugin ``broken``.
    New in API level 1.
    """


@hookspec
def kdhub_components() -> Iterable[Component]:  # type: ignore[empty-body]
    """Called once after `kdhub_plugin_info`: components of every other kind (model, dataset, metric, schedule, ...).

    Raising marks the plugin ``broken``. New in API level 1.
    """


@hookspec
def kdhub_recipes() -> Iterable[Recipe]:  # type: ignore[empty-body]
    """Called once after `kdhub_plugin_info`: configs shipped as package data, run by ``kdhub train scope:name``.

    Raising marks the plugin ``broken``. New in API level 1.
    """


@hookspec
def kdhub_add_commands() -> Iterable[Command]:  # type: ignore[empty-body]
    """Called once after `kdhub_plugin_info`: sub-commands for ``kdhub``, resolved only when they are run.

    Raising, or a name that is taken, marks the plugin ``broken``. New in API level 1.
    """


# ---------------------------------------------------------------- configuration: read, not built; still no torch


@hookspec
def kdhub_check_config(cfg: Mapping[str, Any], report: Report) -> None:
    """Called by ``kdhub check`` and at the start of training, for rules between fields that signatures cannot express.

    Report with ``report.error(path, message, ...)`` and go on: all findings are shown at once. An exception becomes a
    finding against the plugin and the others go on. New in API level 1.
    """


@hookspec
def kdhub_doctor() -> Iterable[Diagnostic]:  # type: ignore[empty-body]
    """Called by ``kdhub doctor``: checks of extras, wheels, devices and data paths. Heavy imports are allowed.

    An exception becomes a failed diagnostic of the plugin. New in API level 1.
    """


# ---------------------------------------------------------------- run time: torch allowed


@hookspec(firstresult=True)
def kdhub_propose_adapter(
    student_shape: tuple[int, ...], teacher_shape: tuple[int, ...]
) -> list[dict[str, Any]] | None:
    """Called when the shape probe finds that the two sides of an objective differ, to write the error's remedy.

    Return the ``adapter`` fragment, a list of component dicts applied in order, or ``None`` if this pair of shapes is
    not yours. Stops at the first result that is not ``None``; the core answers last. An exception is fatal and names
    the plugin. New in API level 1.
    """


@hookspec(firstresult=True)
def kdhub_export_student(
    student: nn.Module, path: Path, cfg: Mapping[str, Any], metainfo: Mapping[str, Any]
) -> str | None:
    """Called after each checkpoint and at the end, to write the student in its own library's format.

    Args:
        student: The bare student, without wrapper, teacher and adapters.
        path: An existing empty folder to fill; it replaces the former ``student/`` only when this returns.
        cfg: The run's resolved config, a copy in plain dicts.
        metainfo: ``metainfo`` of the training data set, such as ``classes`` and ``palette``; empty if it has none.

    Return a line of Python that loads it without kdhub, or ``None`` if the model is not yours. Stops at the first
    result that is not ``None``; the core answers last with ``model.safetensors`` and ``model.py``. An exception is fatal and
    names the plugin. New in API level 1.
    """


# ---------------------------------------------------------------- end of run


@hookspec
def kdhub_run_summary(run: Mapping[str, Any]) -> Mapping[str, Any]:  # type: ignore[empty-body]
    """Called when ``run.json`` is written: the plugin's own lines for the run card. ``run`` is the card so far.

    An exception is logged at debug level and swallowed. New in API level 1.
    """
