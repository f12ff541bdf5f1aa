"""Vectors of texts from any saved encoder, dense or sparse, and the fingerprints by which an index knows its own."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable
from typing import Any

import torch
from scipy import sparse
from sentence_transformers import SparseEncoder
from torch import nn

from kdhub.api import UsageError, build
from kdret.index.base import Index
from kdret.index.dense import FaissIndex
from kdret.index.sparse import SparseIndex
from kdret.loading import load_encoder, model_folder


class TextVectors:
    """Encodes queries and documents for search.

    Args:
        model: A folder, a name on the hub, or ``package://NAME/FOLDER``; a `SparseEncoder` is told by what its folder says.
        batch_size: Texts encoded at once.
        encoder: The loaded model, if somebody has it.
    """

    def __init__(self, model: str, batch_size: int = 64, encoder: Any = None) -> None:
        self.model = model
        self.batch_size = batch_size
        self.encoder = load_encoder(model) if encoder is None else encoder
        if torch.cuda.is_available():
            self.encoder.to("cuda")

    @property
    def sparse(self) -> bool:
        """Whether the vectors are sparse."""
        return isinstance(self.encoder, SparseEncoder)

    @property
    def similarity(self) -> str:
        """How the model's vectors are compared, as an `Index` calls it."""
        return "cosine" if self.encoder.similarity_fn_name == "cosine" else "dot"

    @property
    def width(self) -> int | None:
        """Numbers of a dense vector, if the model tells; what a sparse one takes shows only when it is there."""
        if self.sparse:
            return None
        # the name before sentence-transformers 6
        tell = getattr(self.encoder, "get_embedding_dimension", None) or self.encoder.get_sentence_embedding_dimension
        return tell()

    def documents(self, texts: list[str]) -> Any:
        """Encode documents: ``(N, D)``, float32 or a scipy sparse array."""
        return self._encoded(self.encoder.encode_document, texts)

    def queries(self, texts: list[str]) -> Any:
        """Encode queries: ``(Q, D)``, float32 or a scipy sparse array."""
        return self._encoded(self.encoder.encode_query, texts)

    def new_index(self, type: str | None = None, **settings: Any) -> Index:  # noqa: A002 (as configs call it)
        """Return an empty index for these vectors.

        Args:
            type: Registered name, such as ``'kdret.MilvusIndex'``; ``None`` takes `FaissIndex`, or `SparseIndex` for sparse vectors.
            **settings: Of the index; ``None`` leaves a default.

        Raises:
            UsageError: For a setting that this kind of index does not have.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        if type is not None:
            return build("index", {"type": type, **given}, where="index", similarity=self.similarity)
        if not self.sparse:
            return FaissIndex(self.similarity, **given)
        if other := sorted(given.keys() - {"memory"}):
            raise UsageError(
                f"{other[0]} is not for sparse vectors",
                where=self.model,
                fix="leave it out: their search is exact and has none",
            )
        return SparseIndex(self.similarity, **given)

    def fingerprint(self) -> str:
        """Identify the model by its files, or one that is on the hub by its weights."""
        folder = model_folder(self.model)
        digest = hashlib.sha256()
        if folder is not None:
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
            return digest.hexdigest()
        digest.update(repr((self.encoder, self.encoder.prompts, self.encoder.max_seq_length)).encode())
        digest.update(weights_fingerprint(self.encoder).encode())
        return digest.hexdigest()

    def _encoded(self, encode: Any, texts: list[str]) -> Any:
        return encoded(self.encoder, encode, texts, self.batch_size, normalize=self.similarity == "cosine")


def encoded(
    encoder: Any, encode: Any, texts: list[str], batch_size: int, normalize: bool = False, progress: bool = False
) -> Any:
    """Encode texts with a method of an encoder: ``(N, D)``, float32 or a scipy sparse array.

    Args:
        encoder: The encoder.
        encode: Its ``encode_query`` or ``encode_document``.
        texts: What to encode.
        batch_size: Texts encoded at once.
        normalize: Whether dense vectors are scaled to length 1.
        progress: Whether to show a bar, where there is a terminal.
    """
    options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": progress and sys.stderr.isatty()}
    if isinstance(encoder, SparseEncoder):
        found = encode(texts, convert_to_sparse_tensor=True, save_to_cpu=True, **options).coalesce()
        return sparse.csr_array((found.values().float().numpy(), found.indices().numpy()), shape=tuple(found.shape))
    return encode(texts, convert_to_numpy=True, normalize_embeddings=normalize, **options)


def weights_fingerprint(model: nn.Module) -> str:
    """Identify a model in memory by its structure and its weights."""
    digest = hashlib.sha256(repr(model).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def corpus_fingerprint(documents: Iterable[tuple[str, str]]) -> str:
    """Identify documents by ids and texts.

    Args:
        documents: Id and text of each.
    """
    digest = hashlib.sha256()
    for pair in documents:
        digest.update(json.dumps(list(pair)).encode())
    return digest.hexdigest()
