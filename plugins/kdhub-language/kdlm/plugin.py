"""The manifest: what kdhub-language offers. Imports no torch, so that listing stays fast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdhub.api import Command, Component, LossSpec, PluginInfo, Recipe, hookimpl

if TYPE_CHECKING:
    from torch import nn

    from kdhub.api import Report


@hookimpl
def kdhub_plugin_info() -> PluginInfo:
    """Say what the plugin is."""
    return PluginInfo(
        summary="Language models and text classifiers of transformers: LELP, MI-α, LoRA, perplexity",
        api_level=1,
        tasks=("language-model", "text-classification"),
        extras={"lora": ("peft",)},
    )


@hookimpl
def kdhub_teacher_hooks() -> Iterable[Component]:
    """Offer the tap on all layers."""
    yield Component(
        kind="tap",
        target="kdlm.hidden_states:HiddenStates",
        summary="All hidden states of a transformers model, or one of them",
    )


@hookimpl
def kdhub_losses() -> Iterable[LossSpec]:
    """Offer the losses."""
    yield LossSpec(
        target="kdlm.losses.next_token:NextToken",
        summary="A student's criterion: cross-entropy of each next token, as a mean over tokens or over texts",
        inputs=("student", "labels"),
        fields={"labels": "labels"},
        match="nothing",
        zero_at_equality=False,
    )
    yield LossSpec(
        target="kdlm.losses.lelp:LELP",
        summary="Few classes, each split along the directions in which the teacher's embeddings of it differ",
        paper="Loo et al. 2024, Linear Projections of Teacher Embeddings for Few-Class Distillation, arXiv 2409.20449",
        inputs=("student", "teacher", "teacher_embedding"),
        tags=("logits",),
        match="batch",
        zero_at_equality=False,
    )
    for name, summary in (
        ("MIAlpha", "A bound of the mutual information of hidden states, which α tunes between bias and variance"),
        ("InfoNCE", "The contrastive bound: MIAlpha with α = 1"),
        ("NWJ", "The unnormalised bound with the baseline e: MIAlpha with α = 0"),
        ("TUBA", "The unnormalised bound with a learned baseline: MIAlpha with α = 0"),
    ):
        yield LossSpec(
            target=f"kdlm.losses.mi_alpha:{name}",
            summary=summary,
            paper="He et al. 2021, Distiller, arXiv 2109.11105",
            optional=("mask",),
            fields={"mask": "inputs.attention_mask"},
            tags=("feature", "relation"),
            match="nothing",
            zero_at_equality=False,
        )


@hookimpl
def kdhub_components() -> Iterable[Component]:
    """Offer data, metrics, nets and jobs."""
    yield Component(
        kind="dataset", target="kdlm.data.files:TextLines", summary="A text file, one text a line, for a language model"
    )
    yield Component(
        kind="dataset",
        target="kdlm.data.files:TextTable",
        summary="Lines of JSON with a text each, or a pair, and a label if a classifier is trained",
    )
    yield Component(
        kind="dataset",
        target="kdlm.data.augmented:Augmented",
        summary="Texts, and an edited copy of each, for which the teacher answers anew",
        paper="He et al. 2021, Distiller, arXiv 2109.11105",
    )
    yield Component(
        kind="transform",
        target="kdlm.data.augmented:RandomEdits",
        summary="Words dropped, doubled, swapped or replaced at random",
        paper="Wei and Zou 2019, EDA, arXiv 1901.11196",
    )
    yield Component(
        kind="transform",
        target="kdlm.data.augmented:MaskedWords",
        summary="Words hidden at random and filled in by a masked language model",
        paper="Kobayashi 2018, Contextual Augmentation, arXiv 1805.06201",
    )
    yield Component(
        kind="collate",
        target="kdlm.data.collate:collate_tokens",
        summary="Texts of different lengths as one batch, padded right or left, the padding masked",
    )
    yield Component(
        kind="metric", target="kdlm.metrics:Perplexity", summary="Perplexity of a language model over all tokens"
    )
    yield Component(
        kind="metric",
        target="kdlm.metrics:ClassificationFigures",
        summary="Accuracy, macro F1 and Matthews' correlation of a classifier",
    )
    yield Component(
        kind="model",
        target="kdlm.lora:lora",
        summary="A net of which only low-rank additions train; exported merged",
        paper="Hu et al. 2021, LoRA, arXiv 2106.09685",
    )
    yield Component(
        kind="model",
        target="kdlm.subclass_model:SubclassModel",
        summary="A classifier whose net tells pseudo-classes, and which answers with their classes",
        paper="Loo et al. 2024, Linear Projections of Teacher Embeddings for Few-Class Distillation, arXiv 2409.20449",
    )
    yield Component(
        kind="job",
        target="kdlm.projections:fit_projections",
        summary="The projections of LELP, in one pass of the teacher over its training texts",
        paper="Loo et al. 2024, Linear Projections of Teacher Embeddings for Few-Class Distillation, arXiv 2409.20449",
    )
    yield Component(
        kind="job", target="kdlm.tokenizer:train_tokenizer", summary="A byte-level BPE tokenizer out of text files"
    )
    yield Component(
        kind="job", target="kdlm.docstrings:docstrings", summary="The standard library's docstrings as a text file"
    )


@hookimpl
def kdhub_recipes() -> Iterable[Recipe]:
    """Offer the recipes on docstrings, which need no data."""
    for name, path, summary, teacher, student in (
        ("docstrings-text", "docstrings-text", "a job: the standard library's docstrings", "none", "none"),
        ("docstrings-tokenizer", "docstrings-tokenizer", "a job: 2048 tokens out of that text", "none", "none"),
        (
            "docstrings-lm",
            "docstrings-lm",
            "a small causal LM, text and tokenizer made first",
            "none",
            "GPT-2, 4 x 128",
        ),
        (
            "docstrings-student",
            "kl_docstrings-lm-2x64",
            "one command for all stages: KL on every next token",
            "docstrings-lm",
            "GPT-2, 2 x 64",
        ),
    ):
        yield Recipe(
            name=name,
            path=f"configs/{path}.py",
            summary=summary,
            task="language-model",
            teacher=teacher,
            student=student,
            budget="cpu-minutes",
        )


@hookimpl
def kdhub_add_commands() -> Iterable[Command]:
    """Add the recommendation of a pipeline."""
    yield Command("recommend", "Recommend a pipeline for a new data set from past runs", "kdlm.commands.recommend:main")


@hookimpl
def kdhub_check_config(cfg: Mapping[str, Any], report: Report) -> None:
    """See that models read the tokens of their own tokenizers."""
    from kdlm.config_rules import check

    check(cfg, report)


@hookimpl
def kdhub_export_student(
    student: nn.Module, path: Path, cfg: Mapping[str, Any], metainfo: Mapping[str, Any]
) -> str | None:
    """Save a student of transformers with its tokenizer."""
    if "tokenizer" not in metainfo:
        return None
    from kdlm.export import export_student

    return export_student(student, path, metainfo)
