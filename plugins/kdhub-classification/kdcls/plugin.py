"""The manifest: what kdhub-classification offers. Imports no torch, so that listing stays fast."""

from __future__ import annotations

from collections.abc import Iterable

from kdhub.api import API_LEVEL, Command, Component, PluginInfo, Recipe, hookimpl


@hookimpl
def kdhub_plugin_info() -> PluginInfo:
    """Say what the plugin is."""
    return PluginInfo(
        summary="Image classification: handwritten digits, few labels, mean teacher, teacher and student in one command",
        api_level=API_LEVEL,
        tasks=("image-classification",),
    )


@hookimpl
def kdhub_components() -> Iterable[Component]:
    """Offer data, a sampler and a net."""
    yield Component(
        kind="dataset",
        name="Digits",
        target="kdcls.digits:Digits",
        summary="scikit-learn's 1797 handwritten digits, all or few of them labelled",
        paper="Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI",
    )
    yield Component(
        kind="sampler",
        name="FewLabels",
        target="kdcls.few_labels:FewLabels",
        summary="Labelled and unlabelled samples in a fixed ratio, each batch alike",
    )
    yield Component(
        kind="model",
        name="DigitNet",
        target="kdcls.nets:DigitNet",
        summary="A small convolutional net, with noise of its own",
    )


@hookimpl
def kdhub_recipes() -> Iterable[Recipe]:
    """Offer the recipes on digits, which need no download."""
    for name, path, summary, teacher, student in (
        ("digits-teacher", "teacher_wide_8e_digits", "a wide net, trained on the labels", "none", "DigitNet, width 32"),
        (
            "digits-student",
            "kl_narrow_teacher-wide_4e_digits",
            "one command for two runs: the teacher is trained first",
            "digits-teacher",
            "DigitNet, width 4",
        ),
        (
            "digits-few-labels",
            "narrow_1000it_digits-30-labels",
            "30 labels and nothing else: what digits-mean-teacher has to beat",
            "none",
            "DigitNet, width 16",
        ),
        (
            "digits-mean-teacher",
            "ema_narrow_1000it_digits-30-labels",
            "30 labels and 1067 images without: the student's own average is the teacher",
            "the student's average",
            "DigitNet, width 16",
        ),
    ):
        yield Recipe(
            name=name,
            path=f"configs/{path}.py",
            summary=summary,
            task="image-classification",
            teacher=teacher,
            student=student,
            budget="cpu-minutes",
        )


@hookimpl
def kdhub_add_commands() -> Iterable[Command]:
    """Add the search for a student."""
    yield Command(
        "search-student", "Search a student for a teacher without training", "kdcls.commands.search_student:main"
    )
