"""The manifest: what kdhub-generation offers. Imports no torch, so that listing stays fast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdhub.api import Command, Component, Finding, PluginInfo, Recipe, Report, hookimpl

if TYPE_CHECKING:
    from torch import nn

METHODS = (
    (
        "score:SDS",
        "Score distillation without a fake score: the rival that collapses",
        "Poole et al. 2022, arXiv 2209.14988",
    ),
    (
        "score:SwiftBrush",
        "Variational score distillation with a fake score (LoRA or whole); DMD-like with weighting='dmd'",
        "Nguyen and Tran 2024, SwiftBrush, arXiv 2312.05239",
    ),
    (
        "asd:ASD",
        "Score distillation between two times of one frozen teacher; no second network learns",
        "Ma et al. 2024, ScaleDreamer, arXiv 2407.02040",
    ),
    (
        "disback:Degradation",
        "Stage 1 of DisBack: the teacher degrades to what the student makes at first",
        "Zhang et al. 2025, DisBack, arXiv 2408.15991",
    ),
    (
        "disback:DisBack",
        "Stage 2 of DisBack: the student is led back along that path, node by node",
        "Zhang et al. 2025, DisBack, arXiv 2408.15991",
    ),
    (
        "tbcm:TBCM",
        "Continuous-time consistency on the states of the teacher's own sampling",
        "TBCM 2025, arXiv 2511.20410",
    ),
    (
        "consistency:ConsistencyDistillation",
        "Continuous-time consistency on noised data: the rival that sees the data",
        "Lu and Song 2024, arXiv 2410.11081",
    ),
    (
        "boot:BOOT",
        "A student that follows the teacher's trajectories from their beginning, by bootstrapping",
        "Gu et al. 2023, BOOT, arXiv 2306.05544",
    ),
    (
        "agd:AGD",
        "Adapters that learn what guidance does, so that one call gives what two gave",
        "Jensen and Sadat 2025, AGD, arXiv 2503.07274",
    ),
)
"""Target, summary and paper of each method."""

ROLES = {
    "kdgen.Degradation": ("fake_score",),
    "kdgen.DisBack": ("student", "fake_score"),
    "kdgen.SwiftBrush": ("student", "fake_score"),
}
"""Type of a method to the roles that it trains; any other trains its student alone."""

DATA = {
    "noise": ("kdgen.NoiseDataset",),
    "data": ("kdgen.Images", "kdgen.RingData"),
    "trajectories": ("kdgen.Trajectories",),
}
"""What a model can train on, and the data sets that are such."""

TRAINS_ON = {
    "kdgen.Denoiser": "data",
    "kdgen.PipelineDenoiser": "data",
    "kdgen.ConsistencyDistillation": "data",
    "kdgen.AGD": "trajectories",
}
"""Type of a model to what it trains on; any other method trains on noise."""


@hookimpl
def kdhub_plugin_info() -> PluginInfo:
    """Say what the plugin is."""
    return PluginInfo(
        summary="One-step generators out of diffusion models: noise schedules that all methods share",
        api_level=1,
        tasks=("generation",),
        extras={"diffusers": ("diffusers",), "lora": ("peft",), "clip": ("transformers",)},
    )


@hookimpl
def kdhub_components() -> Iterable[Component]:
    """Offer what models of this plugin are made of."""
    for name, summary in (
        ("CosineSchedule", "cos and sin of continuous time, variance-preserving"),
        ("DDPMSchedule", "The discrete schedules of diffusers: linear, scaled_linear, squaredcos_cap_v2"),
        ("EDMSchedule", "Variance-exploding, on the grid of Karras et al."),
        ("FlowSchedule", "Straight lines from data to noise"),
        ("TrigFlowSchedule", "The clock of continuous-time consistency models"),
    ):
        yield Component(kind="model", target=f"kdgen.noise:{name}", summary=summary)
    for kind, target, summary in (
        ("model", "denoiser:Denoiser", "A network with its schedule and prediction type: teacher, fake score, student"),
        ("model", "pipeline:PipelineDenoiser", "The denoiser in a folder of a diffusers pipeline"),
        ("model", "pipeline:TextConditioned", "A network that is told texts, by labels of encoded prompts"),
        ("model", "guided:GuidedDenoiser", "A frozen denoiser with adapters that take the guidance scale"),
        ("model", "discriminator:Discriminator", "Tells what the student makes from data: DMD2's adversarial term"),
        ("model", "nets:MLP", "A network for points, which trains in seconds"),
        ("model", "ring:RingScore", "The exact score of a ring of Gaussians"),
        ("dataset", "ring:RingData", "Points of a ring of Gaussians"),
        ("dataset", "data:NoiseDataset", "Unit noise and labels: for methods that see no data"),
        ("dataset", "data:Images", "Images of any data set in memory, from -1 to 1"),
        ("job", "trajectories:collect_trajectories", "Guided trajectories of a teacher, on disk"),
        ("dataset", "trajectories:Trajectories", "States of these trajectories, with what the teacher said there"),
        ("dataset", "trajectories:TrajectoryEnds", "Noise, and where the guided teacher brought it"),
        ("collate", "data:join", "Joins chunks of samples to one batch"),
        ("metric", "metrics:RingQuality", "Sliced Wasserstein distance and modes found, on a ring"),
        ("metric", "metrics:ImageQuality", "Sliced Wasserstein distance of images to data, in pixels"),
        ("metric", "metrics:EndpointError", "Distance to what the teacher makes of the same noise"),
        ("metric", "frechet:ClassifierFrechet", "Fréchet distance to data in the features of your own classifier"),
        ("metric", "clip_score:CLIPScore", "How well images fit their texts, in a CLIP model of a folder"),
        ("constructor", "roles:RoleOptimizers", "An optimizer of its own for each role"),
    ):
        yield Component(kind=kind, target=f"kdgen.{target}", summary=summary)
    for target, summary, paper in METHODS:
        yield Component(kind="model", target=f"kdgen.methods.{target}", summary=summary, paper=paper)


@hookimpl
def kdhub_recipes() -> Iterable[Recipe]:
    """Offer the recipes on points, which need no download."""
    for name, path, summary, teacher, student in (
        ("ring-teacher", "teacher_mlp_3000it_ring", "A diffusion teacher of points", "none", "MLP, 50 steps"),
        (
            "ring-swiftbrush",
            "swiftbrush_mlp_teacher-mlp_3000it_ring",
            "SwiftBrush; one command, the teacher is trained first",
            "kdgen:ring-teacher",
            "MLP, 1 step",
        ),
        (
            "ring-degradation",
            "degradation_mlp_300it_ring",
            "Stage 1 of DisBack: a path of checkpoints",
            "kdgen:ring-teacher",
            "MLP, untrained",
        ),
        (
            "ring-disback",
            "disback_mlp_teacher-mlp_3000it_ring",
            "DisBack; one command trains the teacher, its degradation and the student",
            "kdgen:ring-degradation",
            "MLP, 1 step",
        ),
        (
            "ring-boot",
            "boot_mlp_teacher-mlp_6000it_ring",
            "BOOT; one command, the teacher is trained first",
            "kdgen:ring-teacher",
            "MLP, 1 step",
        ),
        (
            "ring-classes-teacher",
            "teacher_residual-mlp_6000it_ring-classes",
            "A class-conditional diffusion teacher of points, for guidance",
            "none",
            "residual MLP, 40 steps",
        ),
        (
            "ring-trajectories",
            "trajectories_residual-mlp_ring-classes",
            "What guided sampling visits, on disk",
            "kdgen:ring-classes-teacher",
            "none",
        ),
        (
            "ring-agd",
            "agd_residual-mlp_teacher-residual-mlp_3000it_ring-classes",
            "AGD; one command trains the teacher, collects its trajectories and trains the adapters",
            "kdgen:ring-trajectories",
            "residual MLP with adapters, 40 steps of one call",
        ),
    ):
        yield Recipe(
            name=name,
            path=f"configs/{path}.py",
            summary=summary,
            task="generation",
            teacher=teacher,
            student=student,
            budget="cpu-minutes",
        )


@hookimpl
def kdhub_add_commands() -> Iterable[Command]:
    """Offer to sample from what a run left."""
    yield Command(
        name="sample", summary="Sample from the generator that a run left", target="kdgen.commands.sample:main"
    )


@hookimpl
def kdhub_check_config(cfg: Mapping[str, Any], report: Report) -> None:
    """See that each role of a method has an optimizer, and each optimizer a role; that an average is one, and data fit."""
    model, wrapper = cfg.get("model"), cfg.get("optim_wrapper")
    kind = str(model.get("type")) if isinstance(model, Mapping) else ""
    if not isinstance(model, Mapping) or not kind.startswith("kdgen."):
        return
    _check_averages(cfg.get("custom_hooks"), report)
    methods = {f"kdgen.{target.partition(':')[2]}" for target, _, _ in METHODS}
    if kind in methods or kind in TRAINS_ON:
        _check_data(kind, cfg.get("train_dataloader"), report)
    if not isinstance(wrapper, Mapping) or kind not in methods:
        return
    roles = ROLES.get(kind, ("student",))
    if model.get("discriminator") is not None:
        roles = (*roles, "discriminator")
    if wrapper.get("constructor") == "kdgen.RoleOptimizers":
        from kdgen.role_names import role_problems

        for problem in role_problems([name for name in wrapper if name != "constructor"], roles):
            report.add(Finding.of(problem, problem.where or "optim_wrapper"))
    elif roles != ("student",):
        report.error(
            "optim_wrapper",
            f"{kind} has roles with optimizers of their own, and here is one",
            expected=", ".join(roles),
            fix="optim_wrapper=dict(constructor='kdgen.RoleOptimizers', student=dict(...), ...)",
        )


def _check_data(kind: str, loader: Any, report: Report) -> None:
    data = loader.get("dataset") if isinstance(loader, Mapping) else None
    given = data.get("type") if isinstance(data, Mapping) else None
    wanted = TRAINS_ON.get(kind, "noise")
    found = next((what for what, types in DATA.items() if given in types), wanted)
    if found != wanted:
        report.error(
            "train_dataloader.dataset.type",
            f"{kind} trains on {wanted}, and here is {found}",
            expected=" or ".join(DATA[wanted]),
            got=str(given),
        )


def _check_averages(hooks: Any, report: Report) -> None:
    for place, hook in enumerate(hooks if isinstance(hooks, list | tuple) else ()):
        momentum = hook.get("momentum", 0.5) if isinstance(hook, Mapping) and hook.get("type") == "EMAHook" else 0.5
        if not isinstance(momentum, int | float) or not 0 < momentum < 1:
            report.error(
                f"custom_hooks.{place}.momentum",
                "with 1 the average is the student of the last step, and with 0 that of the first",
                expected="a number between 0 and 1, the share of the last step, such as 0.001",
                got=repr(momentum),
            )


@hookimpl
def kdhub_export_student(student: nn.Module, path: Path, cfg: Mapping[str, Any]) -> str | None:
    """Write students of diffusers in its own format."""
    from kdgen.export import export_student

    return export_student(student, path, cfg)
