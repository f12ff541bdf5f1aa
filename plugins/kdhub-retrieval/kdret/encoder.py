"""A `SentenceTransformer` as an mmengine model: student, teacher, or on its own."""

from __future__ import annotations

import sentence_transformers

from kdret.two_tower import OneVector


class SentenceEncoder(OneVector):
    """Encodes each text column of a batch with one `SentenceTransformer`.

    What an objective can tap:

    * ``embed``: called once a column, ``(B, D)`` each; ``call='cat'`` takes all texts, ``call=0`` the first column;
    * ``similarity``: every query against every document of the batch, ``(B, B·K)``;
    * ``score``: every query against its own K documents, ``(B, K)``.

    The last two are there when the batch has the columns ``query`` (B texts) and ``document`` (B·K texts, those of one
    query together). All are dot products, which are cosines for a model that normalises, as most do.

    Args:
        model: A folder, a name on the Hugging Face hub, or ``package://NAME/FOLDER``.
        layers: Transformer layers to keep, from 0, such as ``[0, 5]`` for a student of 2 layers that starts from those of
            its teacher; ``None`` keeps all.
        max_length: Texts are cut after this many tokens; ``None`` keeps the model's own limit. Saved with the student.
        freeze: Submodules of the transformer that do not train, such as ``embeddings.word_embeddings``. In a small student
            that matrix is most of the parameters, and its gradient and optimizer state most of the optimizer's time.
        dropout: Probability for every dropout of the model while it trains; ``None`` keeps the model's own. A distilled
            student has a target for every text and little to overfit to, so 0.0 usually learns more in the same time.
        score_scale: Factor of ``score`` and ``similarity``; raise it where a bounded cosine must follow a teacher's
            unbounded scores.
        task_loss: ``'in-batch'`` adds the supervised `kdret.InBatchCrossEntropy` at temperature 0.05, to train without a
            teacher. ``None``, the default, leaves training to the objectives.
        gather: Whether ``task_loss`` compares with the documents of all processes, as `kdret.InBatchCrossEntropy` says.
        frozen_documents: ``True`` encodes documents by a frozen copy of the model as it was loaded, layers and length
            included, and without dropout: queries alone train, and an index that the loaded model made stays valid, as in
            DiSCo (arXiv 2410.14609). The student is saved with both sides; `encode_query` and `encode_document` choose.
        document_vectors: With ``frozen_documents``, a folder where their vectors are kept for other runs, each by the model's
            weights and the document's tokens. ``None`` keeps them for this run, in memory.
        init_cfg: Must stay ``None``: weights come with the model.

    Raises:
        UsageError: If the model cannot be loaded, has no such layers or modules, or if a value makes no sense.
    """

    model_class = sentence_transformers.SentenceTransformer
    temperature = 0.05  # for cosines, as sentence-transformers' scale of 20
