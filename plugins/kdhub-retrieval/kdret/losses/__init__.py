"""Retrieval losses: embeddings, score margins, and score lists of a student against a teacher's; sparsity."""

from kdret.losses.embedding_distill import EmbeddingDistill
from kdret.losses.in_batch import InBatchCrossEntropy
from kdret.losses.in_batch_margins import InBatchMarginMSE
from kdret.losses.listwise_kl import ListwiseKL
from kdret.losses.margin_mse import MarginMSE
from kdret.losses.matryoshka import Matryoshka
from kdret.losses.ranknet import RankNet
from kdret.losses.sparsity import FLOPS, L1

__all__ = [
    "FLOPS",
    "L1",
    "EmbeddingDistill",
    "InBatchCrossEntropy",
    "InBatchMarginMSE",
    "ListwiseKL",
    "MarginMSE",
    "Matryoshka",
    "RankNet",
]
