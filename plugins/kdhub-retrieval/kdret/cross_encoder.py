"""A `CrossEncoder` as an mmengine model: it reads a query and a document together, as teacher, student, or on its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sentence_transformers
from torch import Tensor

from kdhub.api import UsageError
from kdret.text_model import TextModel
from kdret.text_preprocessor import PairPreprocessor


class CrossEncoder(TextModel):
    """Scores each query of a batch with each of its own documents by one `CrossEncoder`.

    What an objective can tap:

    * ``score``: every query against its own K documents, ``(B, K)``, float32.

    These are logits, without the sigmoid by which `CrossEncoder.predict` ends: margins between probabilities say little.
    There are no embeddings, so `kdret.IRMetric` cannot rank a split with it: set ``default_hooks.baseline.teacher=False``
    where it teaches.

    Args:
        model: A folder, a name on the Hugging Face hub, or ``package://NAME/FOLDER``: what `CrossEncoder.save` wrote, a
            model of transformers for sequence classification with one label, or a plain one, which gets a new head.
        layers: Transformer layers to keep, from 0; ``None`` keeps all.
        max_length: Pairs are cut after this many tokens; ``None`` keeps the model's own limit. Saved with the student.
        freeze: Submodules that do not train, such as ``bert.embeddings.word_embeddings``.
        dropout: Probability for every dropout of the model while it trains; ``None`` keeps the model's own.
        score_scale: Factor of ``score``.
        init_cfg: Must stay ``None``: weights come with the model.

    Raises:
        UsageError: If the model cannot be loaded, has more than one label, no such layers or modules, or if a value makes no
            sense.

    References:
        As a teacher: Hofstätter et al. 2020, arXiv 2010.02666.
    """

    model_class = sentence_transformers.CrossEncoder
    preprocessor = PairPreprocessor

    def __init__(
        self,
        model: str,
        layers: Sequence[int] | None = None,
        max_length: int | None = None,
        freeze: Sequence[str] = (),
        dropout: float | None = None,
        score_scale: float = 1.0,
        init_cfg: None = None,
    ) -> None:
        super().__init__(model, layers, max_length, freeze, dropout, score_scale, init_cfg=init_cfg)
        if self.encoder.num_labels != 1:
            raise UsageError(
                f"CrossEncoder: {model!r} does not score relevance",
                expected="a model with 1 label",
                got=f"{self.encoder.num_labels} labels",
                fix="take a reranker, such as cross-encoder/ms-marco-MiniLM-L6-v2",
            )

    def forward(
        self, inputs: dict[str, Any], queries: int, labels: Tensor | None = None, mode: str = "tensor"
    ) -> dict[str, Tensor]:
        """Score every pair.

        Args:
            inputs: Tokens of B·K pairs, those of one query together, as `PairPreprocessor` makes them.
            queries: B.
            labels: Cached teacher scores; read by objectives, not here.
            mode: ``tensor`` or ``loss``; it has no loss of its own.

        Returns:
            ``tensor``: ``dict(score=(B, K))``. ``loss``: nothing.
        """
        scores = self.score(inputs, queries)
        return {} if mode == "loss" else {"score": scores}

    def score(self, inputs: dict[str, Any], queries: int) -> Tensor:
        """Score B·K pairs: ``(B, K)``, float32."""
        found: Tensor = self.encoder(dict(inputs))["scores"]  # a copy: modules write into what they are given
        return self.score_scale * found.float().reshape(queries, -1)
