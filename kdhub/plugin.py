"""The core's own manifest: built-in components, offered through the same hooks as everybody's (scope ``kdhub``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
    )


def _offer(*rows: tuple[str, str, str]) -> Iterator[Component]:
    for kind, target, summary in rows:
        yield Component(kind=kind, target=f"kdhub.{target}", summary=summary)


@hookimpl
def kdhub_teacher_hooks() -> Iterable[Component]:
    """Offer the taps and the teachers, live and stored."""
    yield from _offer(
        ("tap", "distill.taps.module:ModuleOutput", "What a module returns"),
        ("tap", "distill.taps.module:ModuleInput", "What a module is given"),
        ("tap", "distill.taps.method:MethodOutput", "What a method of a module returns"),
        ("teacher", "distill.teachers:ModelTeacher", "Any registered model, frozen and run beside the student"),
        ("teacher", "caching.stored:StoredTeacher", "A teacher whose answers `kdhub cache` wrote to disk"),
    )
    yield Component(
        kind="teacher",
        target="kdhub.distill.teachers:EMATeacher",
        summary="The student's own weights, averaged over the steps (mean teacher)",
        paper="Tarvainen and Valpola, NeurIPS 2017, arXiv 1703.01780",
    )


@hookimpl
def kdhub_adapters() -> Iterable[Component]:
    """Offer the adapters between plain tensor shapes."""
    return _offer(
        ("adapter", "distill.adapters:Linear", "Projects the last axis to the teacher's width"),
        ("adapter", "distill.adapters:Conv1x1", "Projects the channels of a feature map to the teacher's"),
        ("adapter", "distill.adapters:SpatialResize", "Resizes a feature map to the teacher's height and width"),
        ("adapter", "distill.adapters:TokenPool", "Pools a sequence of tokens to the teacher's length"),
        ("adapter", "distill.levels:EachLevel", "Adapts each level of a feature pyramid by adapters of its own"),
    )


@hookimpl
def kdhub_losses() -> Iterable[LossSpec]:
    """Offer the losses that need nothing but two tensors."""
    yield LossSpec(
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
        yield LossSpec(target=target, summary=summary, optional=("mask",), tags=("feature",), unaugmented=True)
    yield LossSpec(
        target="kdhub.distill.losses.relational:Relational",
        summary="Difference of the two similarity matrices within the batch",
        optional=("mask",),
        tags=("relation",),
        match="batch",
    )


@hookimpl
def kdhub_components() -> Iterable[Component]:
    """Offer the distiller, what makes plain torch code a part of a run, the schedules and the runner's parts."""
    trains = "Trains a student on its own losses and on objectives read from a teacher"
    return _offer(
        ("distiller", "distill.distiller:Distiller", trains),
        ("model", "models.torch_model:TorchModel", "Any nn.Module: torchvision's, timm's, transformers', one's own"),
        ("dataset", "models.torch_dataset:TorchDataset", "Any map-style data set that can be imported"),
        ("metric", "models.accuracy:Accuracy", "In how many samples the right class is among the k best scores"),
        ("schedule", "distill.schedules:ConstantSchedule", "One value throughout"),
        ("schedule", "distill.schedules:LinearSchedule", "Straight line from one value to another"),
        ("schedule", "distill.schedules:CosineSchedule", "Half a cosine from one value to another"),
        ("schedule", "distill.schedules:StepSchedule", "A factor at each milestone"),
        ("schedule", "distill.schedules:WarmupSchedule", "Rises to its value, then holds it"),
        ("schedule", "distill.schedules:ChainedSchedule", "One schedule after another"),
        (
            "optim_wrapper",
            "engine.amp:CPUAmpOptimWrapper",
            "bfloat16 on the CPU, which mmengine's AmpOptimWrapper refuses",
        ),
        ("runner_hook", "engine.hooks.progress:ProgressHook", "Progress bar with the time that is left"),
        ("runner_hook", "engine.hooks.run_card:RunCardHook", "Writes run.json: what was run, where, and what came out"),
        (
            "runner_hook",
            "engine.hooks.export_student:ExportStudentHook",
            "Writes the student in its own library's format",
        ),
        ("runner_hook", "engine.hooks.interrupt:InterruptHook", "Saves on Ctrl-C and says how to resume"),
        ("runner_hook", "engine.hooks.baseline:BaselineHook", "Evaluates teacher and student before training"),
        ("runner_hook", "engine.hooks.distill:DistillHook", "Tells the distiller where training stands"),
        (
            "runner_hook",
            "engine.hooks.checkpoint:CheckpointHook",
            "Saves so that a full disk cannot damage the last checkpoint",
        ),
    )


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
