"""The manifest: what kdhub-ood offers. Imports no torch, so that listing stays fast."""

from __future__ import annotations

from collections.abc import Iterable

from kdhub.api import Command, Component, LossSpec, PluginInfo, Recipe, hookimpl

PAPER = "Wu et al. 2023, Multi-Level Knowledge Distillation for Out-of-Distribution Detection in Text, arXiv 2211.11300"
_MASK = {"mask": "inputs.attention_mask"}


@hookimpl
def kdhub_plugin_info() -> PluginInfo:
    """Say what the plugin is."""
    return PluginInfo(
        summary="Out-of-distribution text: multi-level distillation, AUROC, AUPR and FAR95, rivals, a saved scorer",
        api_level=1,
        tasks=("ood",),
    )


@hookimpl
def kdhub_losses() -> Iterable[LossSpec]:
    """Offer the two levels of MLKD."""
    yield LossSpec(
        target="kdood.losses.prediction_kd:PredictionKD",
        summary="KL of the next-token distributions over real tokens, without the factor τ²",
        paper=PAPER,
        optional=("mask",),
        fields=_MASK,
        tags=("logits",),
        match="batch",
    )
    yield LossSpec(
        target="kdood.losses.adaptive_layers:AdaptiveLayerKD",
        summary="Each student layer follows, token by token, the K teacher layers that are closest to it",
        paper=PAPER,
        optional=("mask",),
        fields=_MASK,
        tags=("feature",),
        match="nothing",
        zero_at_equality=False,
    )


@hookimpl
def kdhub_components() -> Iterable[Component]:
    """Offer data, a metric and the job that makes a scorer."""
    for target, summary, paper in (
        ("kdood.data:OODLines", "Two text files: one within the distribution, one out of it", ""),
        (
            "kdood.data:CLINC150",
            "150 intents in ten domains, and requests of no intent",
            "Larson et al. 2019, An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction, EMNLP",
        ),
        (
            "kdood.data:AGNews",
            "News of four classes, of which some are within the distribution",
            "Zhang, Zhao and LeCun 2015, Character-level Convolutional Networks for Text Classification",
        ),
        ("kdood.data:Snips", "Requests of seven intents", "Coucke et al. 2018, Snips Voice Platform, arXiv 1805.10190"),
        (
            "kdood.published:SST",
            "Sentences of film reviews, in GLUE's layout; texts out of distribution from another file",
            "Socher et al. 2013, Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank, EMNLP",
        ),
        (
            "kdood.published:ROSTD",
            "Requests of three domains, and requests of none",
            "Gangal et al. 2020, Likelihood Ratios and Generative Classifiers for Unsupervised OOD Detection, AAAI",
        ),
        (
            "kdood.published:Newsgroups",
            "Posts of 20 Newsgroups in six classes, without headers and quotes",
            "Lang 1995, NewsWeeder: Learning to Filter Netnews, ICML",
        ),
        ("kdood.mixed:Mixed", "Two data sets of any kind as one, within and out of distribution", ""),
    ):
        yield Component(kind="dataset", target=target, summary=summary, paper=paper)
    yield Component(
        kind="metric",
        target="kdood.metric:OODFigures",
        summary="AUROC, AUPR-OUT, AUPR-IN and FAR95 of a language model, or of a classifier's MSP or energy",
        paper=PAPER,
    )
    yield Component(
        kind="runner_hook",
        target="kdood.panels:PanelHook",
        summary="Pictures for the report: scores of texts, ROC curves, the worst mistakes token by token",
    )
    yield Component(
        kind="job",
        target="kdood.scorer:fit_scorer",
        summary="A language model as a scorer, its threshold chosen on validation text in distribution",
        paper=PAPER,
    )


@hookimpl
def kdhub_recipes() -> Iterable[Recipe]:
    """Offer the three stages on CLINC150, each an entrance."""
    for name, summary, teacher, student in (
        ("clinc-teacher", "stage 1: a pretrained LM fine-tuned on text in distribution", "none", "GPT-2, 4 x 128"),
        (
            "clinc-student",
            "stage 2: a student of random weights, taught at two levels",
            "clinc-teacher",
            "GPT-2, 4 x 128",
        ),
        (
            "clinc-scorer",
            "stage 3: a scorer with its threshold; runs the stages before",
            "clinc-teacher",
            "GPT-2, 4 x 128",
        ),
    ):
        yield Recipe(
            name=name,
            path=f"configs/{name}.py",
            summary=summary,
            task="ood",
            teacher=teacher,
            student=student,
            budget="cpu-minutes",
        )


@hookimpl
def kdhub_add_commands() -> Iterable[Command]:
    """Add the scoring of a file."""
    yield Command("ood", "Score the lines of a text file: out of distribution or not", "kdood.commands.ood:main")
