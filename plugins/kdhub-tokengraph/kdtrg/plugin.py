"""The manifest: what kdhub-tokengraph offers. Imports no torch, so that listing stays fast."""

from __future__ import annotations

from collections.abc import Iterable

from kdhub.api import Component, LossSpec, PluginInfo, Recipe, hookimpl

PAPER = "Knowledge Distillation via Token-level Relationship Graph, 2023, arXiv 2306.12442"


@hookimpl
def kdhub_plugin_info() -> PluginInfo:
    """Say what the plugin is."""
    return PluginInfo(
        summary="TRG: graphs over the patch tokens of a batch, of CNNs and vision transformers",
        api_level=1,
        tasks=("image-classification",),
    )


@hookimpl
def kdhub_adapters() -> Iterable[Component]:
    """Offer what makes tokens of a feature map."""
    yield Component(
        kind="adapter",
        target="kdtrg.tokens:Tokens",
        summary="A feature map or a transformer's sequence as patch tokens, on a grid that both sides have",
        paper=PAPER,
    )


@hookimpl
def kdhub_components() -> Iterable[Component]:
    """Offer the schedule that numbers the draws of tokens, and pictures."""
    yield Component(
        kind="schedule",
        target="kdtrg.schedule:StepNumber",
        summary="The number of the step itself: what a draw of tokens depends on",
    )
    yield Component(
        kind="runner_hook",
        target="kdtrg.panels.hook:PanelHook",
        summary="A picture for the report: the nearest patches under teacher, student alone and student",
    )


@hookimpl
def kdhub_losses() -> Iterable[LossSpec]:
    """Offer TRG and its three terms, each alone."""
    for target, summary, zero in (
        ("trg:TRGLoss", "Local, global and contextual term of TRG, logged one by one", False),
        ("local_graph:LocalGraph", "Neighbours of each token among the tokens of the batch", True),
        ("global_contrast:GlobalContrast", "Each student token picks its own teacher token out of all", False),
        ("context_graph:ContextGraph", "Similarities of the tokens of one image", True),
    ):
        yield LossSpec(
            target=f"kdtrg.losses.{target}",
            summary=summary,
            tags=("feature", "relation"),
            match="batch",
            zero_at_equality=zero,
            paper=PAPER,
        )


@hookimpl
def kdhub_recipes() -> Iterable[Recipe]:
    """Offer the recipe on digits, which needs no download."""
    yield Recipe(
        name="digits-trg",
        path="configs/trg_narrow_teacher-wide_30e_digits.py",
        summary="TRG beside logits; one command, the teacher is trained first; needs kdhub-classification",
        task="image-classification",
        teacher="kdcls:digits-teacher",
        student="DigitNet, width 4",
        budget="cpu-minutes",
    )
