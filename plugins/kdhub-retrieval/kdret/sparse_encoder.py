"""A `SparseEncoder` as an mmengine model: SPLADE as student, teacher, or on its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import scipy.sparse
import sentence_transformers
from sentence_transformers.sparse_encoder.modules import SpladePooling
from sentence_transformers.util import select_max_active_dims
from torch import Tensor

from kdhub.api import UsageError
from kdret.two_tower import OneVector


class SparseEncoder(OneVector):
    """Encodes each text column of a batch into weights of the vocabulary's words with one SPLADE model.

    ``w_v = max over tokens i of log(1 + ReLU(logit_iv))``, with the logits of a masked language model (`SpladePooling`).

    What an objective can tap:

    * ``embed``: called once a column, ``(B, V)`` each, V words, from 0, in a dense layout: ``call=0`` are the queries and
      ``call=1`` the documents of the datasets of lists and pairs, for `kdret.FLOPS` and `kdret.L1`;
    * ``similarity``: every query against every document of the batch, ``(B, B·K)``;
    * ``score``: every query against its own K documents, ``(B, K)``.

    The last two are dot products, some tens for a trained model; compare them with a teacher's by `kdret.MarginMSE` or
    `kdret.ListwiseKL`. Evaluate with ``dict(type='kdret.IRMetric', similarity='dot')``, which adds how sparse the vectors are.

    Args:
        model: A folder, a name on the Hugging Face hub, or ``package://NAME/FOLDER``: what `SparseEncoder.save` wrote, or
            a masked language model (``BertForMaskedLM``) to start from.
        layers: Transformer layers to keep, from 0; ``None`` keeps all.
        max_length: Texts are cut after this many tokens; ``None`` keeps the model's own limit. Saved with the student.
        freeze: Submodules that do not train, such as ``bert.embeddings.position_embeddings``. The word embeddings are also
            the output matrix of most such models: frozen, neither trains.
        dropout: Probability for every dropout of the model while it trains; ``None`` keeps the model's own.
        score_scale: Factor of ``score`` and ``similarity``.
        task_loss: ``'in-batch'`` adds the supervised `kdret.InBatchCrossEntropy` at temperature 1, to train without a
            teacher; a regulariser such as `kdret.FLOPS` keeps it sparse. ``None``, the default, leaves training to the
            objectives.
        gather: Whether ``task_loss`` compares with the documents of all processes, as `kdret.InBatchCrossEntropy` says.
        frozen_documents: ``True`` encodes documents by a frozen copy of the model as it was loaded, layers and length
            included, and without dropout: queries alone train, and an index that the loaded model made stays valid, as in
            DiSCo (arXiv 2410.14609). The student is saved with both sides; `encode_query` and `encode_document` choose.
        document_vectors: With ``frozen_documents``, a folder where their vectors are kept for other runs, each by the model's
            weights and the document's tokens. ``None`` keeps them for this run, in memory.
        init_cfg: Must stay ``None``: weights come with the model.

    Raises:
        UsageError: If the model cannot be loaded, has no SPLADE pooling (sentence-transformers makes a random sparse
            auto-encoder of a model without a masked-language head), no such layers or modules, or if a value makes no sense.

    References:
        Formal et al. 2021, SPLADE v2, arXiv 2109.10086.
    """

    model_class = sentence_transformers.SparseEncoder
    temperature = 1.0  # for dot products, as sentence-transformers' scale of 1

    def __init__(
        self,
        model: str,
        layers: Sequence[int] | None = None,
        max_length: int | None = None,
        freeze: Sequence[str] = (),
        dropout: float | None = None,
        score_scale: float = 1.0,
        task_loss: str | None = None,
        gather: bool = False,
        frozen_documents: bool = False,
        document_vectors: str | None = None,
        init_cfg: None = None,
    ) -> None:
        super().__init__(
            model,
            layers,
            max_length,
            freeze,
            dropout,
            score_scale,
            task_loss,
            gather,
            frozen_documents,
            document_vectors,
            init_cfg,
        )
        if not any(isinstance(module, SpladePooling) for module in self.encoder.modules()):
            raise UsageError(
                f"SparseEncoder: {model!r} has no head that scores the words of a vocabulary",
                expected="a masked language model, or a saved SPLADE model",
                got=", ".join(type(module).__name__ for module in self.encoder),
                fix="start from the checkpoint that the encoder was pre-trained as, such as distilbert-base-uncased",
            )

    def rows(self, embeddings: Tensor) -> Iterable[Any]:
        """Part ``(B, V)`` into B sparse rows ``(1, V)``, pruned as the saved model prunes them (``max_active_dims``)."""
        pruned = select_max_active_dims(embeddings.detach().float(), self.encoder.max_active_dims)
        rows = scipy.sparse.csr_array(pruned.cpu().numpy())
        return (rows[[row]] for row in range(rows.shape[0]))
