"""A `MultiVectorEncoder` as an mmengine model: late interaction as student, teacher, or on its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sentence_transformers
import torch
from sentence_transformers.multi_vector_encoder.scoring import colbert_kd_scores
from sentence_transformers.util import maxsim
from torch import Tensor

from kdhub.api import UsageError
from kdret.text_preprocessor import documents_per_query
from kdret.two_tower import TwoTower


class TokenVectors(NamedTuple):
    """The vectors of a column's tokens.

    Attributes:
        vectors: ``(N, T, D)``.
        mask: ``(N, T)``, true where a token counts.
    """

    vectors: Tensor
    mask: Tensor


class MultiVectorEncoder(TwoTower):
    """Encodes each token of a text into a vector with one `MultiVectorEncoder`, and compares them by MaxSim.

    ``s(q, d) = Σ over tokens i of the query of max over tokens j of the document of ⟨q_i, d_j⟩``; with a model whose
    ``similarity_fn_name`` is ``'meanmaxsim'``, over the number of the query's tokens.

    What an objective can tap:

    * ``embed``: called once a column, `TokenVectors` each: ``vectors`` ``(N, T, D)`` and ``mask`` ``(N, T)``;
      ``key='vectors', call=0`` are those of the first column;
    * ``similarity``: every query against every document of the batch, ``(B, B·K)``;
    * ``score``: every query against its own K documents, ``(B, K)``.

    The last two are there when the batch has the columns ``query`` (B texts) and ``document`` (B·K texts, those of one
    query together). With vectors of length 1, as ColBERT's, a score lies between minus and plus the number of the query's
    tokens: it reaches a cross-encoder's margins for `kdret.MarginMSE` with a ``score_scale``, or take `kdret.ListwiseKL`.

    Args:
        model: A folder, a name on the Hugging Face hub, or ``package://NAME/FOLDER``: what `MultiVectorEncoder.save` wrote,
            a ColBERT checkpoint, or a plain transformer, which gets a new projection to 128 dimensions.
        layers: Transformer layers to keep, from 0; ``None`` keeps all.
        max_length: Texts are cut after this many tokens; ``None`` keeps the model's own limits. Saved with the student.
        freeze: Submodules of the transformer that do not train, such as ``embeddings.word_embeddings``.
        dropout: Probability for every dropout of the model while it trains; ``None`` keeps the model's own.
        score_scale: Factor of ``score`` and ``similarity``.
        task_loss: ``'in-batch'`` adds the supervised `kdret.InBatchCrossEntropy` at temperature 1, to train without a
            teacher. ``None``, the default, leaves training to the objectives.
        frozen_documents: ``True`` encodes documents by a frozen copy of the model as it was loaded, layers and length
            included, and without dropout: queries alone train, and an index that the loaded model made stays valid, as in
            DiSCo (arXiv 2410.14609). The student is saved with both sides; `encode_query` and `encode_document` choose.
        document_vectors: With ``frozen_documents``, a folder where their vectors are kept for other runs, each by the model's
            weights and the document's tokens. ``None`` keeps them for this run, in memory.
        init_cfg: Must stay ``None``: weights come with the model.

    Raises:
        UsageError: If the model cannot be loaded, has no such layers or modules, if a value makes no sense, or if a text has
            no token that counts.

    References:
        Khattab and Zaharia 2020, ColBERT, arXiv 2004.12832; as a student: Santhanam et al. 2022, ColBERTv2, arXiv 2112.01488.
    """

    model_class = sentence_transformers.MultiVectorEncoder
    outputs = ("token_embeddings", "attention_mask")
    temperature = 1.0  # for sums over tokens, as sentence-transformers' scale of 1

    def __init__(
        self,
        model: str,
        layers: Sequence[int] | None = None,
        max_length: int | None = None,
        freeze: Sequence[str] = (),
        dropout: float | None = None,
        score_scale: float = 1.0,
        task_loss: str | None = None,
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
            False,
            frozen_documents,
            document_vectors,
            init_cfg,
        )

    def is_asked(self, method: str) -> bool:
        """Whether a tap reads the method: one shadows it in the instance while it listens.

        Every query's tokens against every document's are more numbers than all else in the batch, so nothing is computed for
        nobody.
        """
        return method in vars(self)

    def embed(self, features: dict[str, Any]) -> TokenVectors:
        """Encode one column of tokens into ``vectors`` ``(N, T, D)`` and ``mask`` ``(N, T)``.

        Raises:
            UsageError: If a text has no token that counts (looked for on the CPU only, as reading it stalls another device).
                The library gives such a document a score of -1e9, which no loss survives.
        """
        found = self.encoded(features)
        vectors, mask = found["token_embeddings"], found["attention_mask"].bool()
        if mask.device.type == "cpu" and not mask.any(1).all():
            raise UsageError(
                f"MultiVectorEncoder: text {(~mask.any(1)).nonzero()[0].item()} of a column has no token that counts",
                expected="at least one token that is neither padding nor in the model's skiplist",
                fix="leave the text out, or take the skiplist out of the model's MultiVectorMask",
            )
        return TokenVectors(vectors, mask)

    def rows(self, embeddings: TokenVectors) -> Iterable[Any]:
        """Part the tokens of N texts into N matrices ``(T, D)`` of the tokens that count."""
        vectors, mask = embeddings.vectors.detach().float().cpu(), embeddings.mask.cpu()
        return (own[counts] for own, counts in zip(vectors, mask, strict=True))

    def similarity(self, query: TokenVectors, document: TokenVectors) -> Tensor:
        """Score every query against every document of the batch: ``(B, B·K)``, float32."""
        with torch.autocast(query.vectors.device.type, enabled=False):
            scores: Tensor = maxsim(
                query.vectors.float(), document.vectors.float(), query.mask, document.mask, length_normalize=self._mean
            )
        return self.score_scale * scores

    def score(self, query: TokenVectors, document: TokenVectors) -> Tensor:
        """Score every query against its own documents: ``(B, K)``, float32.

        Raises:
            UsageError: If the documents cannot be shared out evenly among the queries.
        """
        queries = len(query.vectors)
        lists = (queries, documents_per_query(queries, len(document.vectors)))
        with torch.autocast(query.vectors.device.type, enabled=False):
            scores: Tensor = colbert_kd_scores(
                query.vectors.float(),
                document.vectors.float().unflatten(0, lists),
                query.mask,
                document.mask.unflatten(0, lists),
                length_normalize=self._mean,
            )
        return self.score_scale * scores

    @property
    def _mean(self) -> bool:
        return str(self.encoder.similarity_fn_name) == "meanmaxsim"
