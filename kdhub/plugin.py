"""The core's own manifest: built-in components, offered through the same hooks as everybody's (scope ``kdhub``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdhub.hookspec import hookimpl
from kdhub.records import API_LEVEL, Component, Diagnostic, LossSpec, PluginInfo

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def kdhub_plugin_info() -> PluginInfo:
    """Say what the built-in plugin is."""
    return PluginInfo(
        summary="Distiller, taps, adapters, losses and schedules that know no task",
        api_level=API_LEVEL,
        tasks=("any",),
        extras={},
    )


@hookimpl
def kdhub_teacher_hooks() -> Iterable[Component]:
    """Offer the taps and the teachers, live and stored."""
    module = "kdhub.distill.taps.module"
    yield Component(kind="tap", name="ModuleOutput", target=f"{module}:ModuleOutput", summary="What a module returns")
    yield Component(kind="tap", name="ModuleInput", target=f"{module}:ModuleInput", summary="What a module is given")
    yield Component(
        kind="tap",
        name="MethodOutput",
        target="kdhub.distill.taps.method:MethodOutput",
        summary="What a method of a module returns",
    )
    yield Component(
        kind="teacher",
        name="ModelTeacher",
        target="kdhub.distill.teachers:ModelTeacher",
        summary="Any registered model, frozen and run beside the student",
    )
    yield Component(
        kind="teacher",
        name="EMATeacher",
        target="kdhub.distill.teachers:EMATeacher",
        summary="The student's own weights, averaged over the steps (mean teacher)",
        paper="Tarvainen and Valpola, NeurIPS 2017, arXiv 1703.01780",
    )
    yield Component(
        kind="teacher",
        name="StoredTeacher",
        target="kdhub.caching.stored:StoredTeacher",
        summary="A teacher whose answers `kdhub cache` wrote to disk",
    )


@hookimpl
def kdhub_adapters() -> Iterable[Component]:
    """Offer the adapters between plain tensor shapes."""
    for name, summary in (
        ("Linear", "Projects the last axis to the teacher's width"),
        ("Conv1x1", "Projects the channels of a feature map to the teacher's"),
        ("SpatialResize", "Resizes a feature map to the teacher's height and width"),
        ("TokenPool", "Pools a sequence of tokens to the teacher's length"),
    ):
        yield Component(kind="adapter", name=name, target=f"kdhub.distill.adapters:{name}", summary=summary)
    yield Component(
        kind="adapter",
        name="EachLevel",
        target="kdhub.distill.levels:EachLevel",
        summary="Adapts each level of a feature pyramid by adapters of its own",
    )


@hookimpl
def kdhub_losses() -> Iterable[LossSpec]:
    """Offer the losses that need nothing but two tensors."""
    yield LossSpec(
        name="TemperatureKL",
        target="kdhub.distill.losses.temperature_kl:TemperatureKL",
        summary="Kullback-Leibler divergence of softened class distributions",
        paper="Hinton, Vinyals, Dean 2015, Distilling the Knowledge in a Neural Network",
        optional=("mask",),
        tags=("logits",),
        reduction="positions",
        unaugmented=True,
    )
    for name, module, summary in (
        ("MSE", "mse", "Mean squared difference"),
        ("Cosine", "cosine", "One minus the cosine of the two vectors"),
        ("SmoothL1", "smooth_l1", "Squared difference near zero, absolute beyond"),
    ):
        target = f"kdhub.distill.losses.{module}:{name}"
        yield LossSpec(
            name=name, target=target, summary=summary, optional=("mask",), tags=("feature",), unaugmented=True
        )
    yield LossSpec(
        name="Relational",
        target="kdhub.distill.losses.relational:Relational",
        summary="Difference of the two similarity matrices within the batch",
        optional=("mask",),
        tags=("relation",),
        match="batch",
    )


@hookimpl
def kdhub_components() -> Iterable[Component]:
    """Offer the distiller, what makes plain torch code a part of a run, the schedules and the runner's parts."""
    yield Component(
        kind="distiller",
        name="Distiller",
        target="kdhub.distill.distiller:Distiller",
        summary="Trains a student on its own losses and on objectives read from a teacher",
    )
    for kind, name, module, summary in (
        ("model", "TorchModel", "torch_model", "Any nn.Module: torchvision's, timm's, transformers', one's own"),
        ("dataset", "TorchDataset", "torch_dataset", "Any map-style data set that can be imported"),
        ("metric", "Accuracy", "accuracy", "In how many samples the right class is among the k best scores"),
    ):
        yield Component(kind=kind, name=name, target=f"kdhub.models.{module}:{name}", summary=summary)
    for name, summary in (
        ("ConstantSchedule", "One value throughout"),
        ("LinearSchedule", "Straight line from one value to another"),
        ("CosineSchedule", "Half a cosine from one value to another"),
        ("StepSchedule", "A factor at each milestone"),
        ("WarmupSchedule", "Rises to its value, then holds it"),
        ("ChainedSchedule", "One schedule after another"),
    ):
        yield Component(kind="schedule", name=name, target=f"kdhub.distill.schedules:{name}", summary=summary)
    yield Component(
        kind="optim_wrapper",
        name="CPUAmpOptimWrapper",
        target="kdhub.engine.amp:CPUAmpOptimWrapper",
        summary="bfloat16 on the CPU, which mmengine's AmpOptimWrapper refuses",
    )
    for name, module, summary in (
        ("ProgressHook", "progress", "Progress bar with the time that is left"),
        ("RunCardHook", "run_card", "Writes run.json: what was run, where, and what came out"),
        ("ExportStudentHook", "export_student", "Writes the student in its own library's format"),
        ("InterruptHook", "interrupt", "Saves on Ctrl-C and says how to resume"),
        ("BaselineHook", "baseline", "Evaluates teacher and student before training"),
        ("DistillHook", "distill", "Tells the distiller where training stands"),
        ("CheckpointHook", "checkpoint", "Saves so that a full disk cannot damage the last checkpoint"),
    ):
        yield Component(kind="runner_hook", name=name, target=f"kdhub.engine.hooks.{module}:{name}", summary=summary)


@hookimpl
def kdhub_doctor() -> Iterable[Diagnostic]:
    """Look at the core's own stack."""
    from kdhub.engine.doctor import diagnose

    return diagnose()


@hookimpl(trylast=True)
def kdhub_propose_adapter(
    student_shape: tuple[int, ...], teacher_shape: tuple[int, ...]
) -> list[dict[str, Any]] | None:
    """Propose built-in adapters for plain tensor shapes, after every plugin was asked."""
    from kdhub.distill.propose import propose_adapter

    return propose_adapter(student_shape, teacher_shape)


@hookimpl(trylast=True)
def kdhub_export_student(student: nn.Module, path: Path, cfg: Mapping[str, Any]) -> str | None:
    """Write any student as ``model.safetensors`` and ``model.py``, after every plugin was asked."""
    from kdhub.engine.export import export_student

    return export_student(student, path, cfg)
