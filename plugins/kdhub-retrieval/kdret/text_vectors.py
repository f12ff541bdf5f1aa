"""Vectors of texts from any saved encoder, and the fingerprints by which an index knows its own."""

from __future__ import annotations

import hashlib
import inspect
import sys
from typing import Any

import torch
from scipy import sparse
from sentence_transformers import MultiVectorEncoder, SparseEncoder
from torch import nn

from kdhub.api import UsageError, build
from kdret.index.base import Index
from kdret.index.dense import FaissIndex
from kdret.index.late import MaxSimIndex
from kdret.index.sparse import SparseIndex
from kdret.loading import load_encoder, model_folder

_DISTANCES = ("euclidean", "manhattan")
_INDEXES: dict[str, type[Index]] = {one.kind: one for one in (FaissIndex, SparseIndex, MaxSimIndex)}


class TextVectors:
    """Encodes queries and documents for search.

    Args:
        model: A folder, a name on the hub, or ``package://NAME/FOLDER``; of what kind it is its folder says.
        batch_size: Texts encoded at once.
        encoder: The loaded model, if somebody has it.
        similarity: ``'dot'`` leaves vectors as they are; ``None`` compares them as the model says, and scales those of cosines.

    Attributes:
        kind: ``'dense'``, ``'sparse'`` or ``'late'``, as `Index.kind`.
        similarity: How the vectors are compared, as an `Index` calls it.

    Raises:
        UsageError: If the model compares by distances, which no index here searches by.
    """

    def __init__(self, model: str, batch_size: int = 64, encoder: Any = None, similarity: str | None = None) -> None:
        self.model = model
        self.batch_size = batch_size
        self.encoder = load_encoder(model) if encoder is None else encoder
        if torch.cuda.is_available():
            self.encoder.to("cuda")
        self.kind = (
            "sparse"
            if isinstance(self.encoder, SparseEncoder)
            else "late"
            if isinstance(self.encoder, MultiVectorEncoder)
            else "dense"
        )
        told = getattr(self.encoder, "similarity_fn_name", None)
        if told in _DISTANCES:
            raise UsageError(
                "texts cannot be searched by this model's distances",
                where=f"{model or 'the model'}: similarity_fn_name",
                expected="cosine, or dot",
                got=str(told),
                fix="save the model with similarity_fn_name='cosine' if its training allows that, or take another model",
            )
        self.similarity = similarity or ("cosine" if told == "cosine" else "dot")

    @property
    def width(self) -> int | None:
        """Numbers of a text's vector, if the model tells; what other kinds take shows only when it is there."""
        if self.kind != "dense":
            return None
        # the name before sentence-transformers 6
        tell = getattr(self.encoder, "get_embedding_dimension", None) or self.encoder.get_sentence_embedding_dimension
        return tell()

    def documents(self, texts: list[str], progress: bool = False) -> Any:
        """Encode documents: ``(N, D)``, float32 or a scipy sparse array; or a list of N arrays ``(T, D)``.

        Args:
            texts: The texts.
            progress: Whether to show a bar, where there is a terminal.
        """
        return self._encoded(self.encoder.encode_document, texts, progress)

    def queries(self, texts: list[str]) -> Any:
        """Encode queries, as `documents`; where the model takes the mean over a query's tokens, that is in their lengths."""
        found = self._encoded(self.encoder.encode_query, texts)
        if self.kind == "late" and self.encoder.similarity_fn_name == "meanmaxsim":
            return [one / len(one) for one in found]
        return found

    def new_index(self, type: str | None = None, **settings: Any) -> Index:  # noqa: A002 (as configs call it)
        """Return an empty index for these vectors.

        Args:
            type: Registered name, such as ``'kdret.MilvusIndex'``; ``None`` takes `FaissIndex`, `SparseIndex` or `MaxSimIndex` by the
                kind of the vectors.
            **settings: Of the index; ``None`` leaves a default.

        Raises:
            UsageError: For a setting that this kind of index does not have.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        if type is not None:
            return build("index", {"type": type, **given}, where="index", similarity=self.similarity)
        index = _INDEXES[self.kind]
        known = set(inspect.signature(index).parameters)
        if other := sorted(given.keys() - known):
            raise UsageError(
                f"{other[0]} is not for {self.kind} vectors",
                where=self.model,
                expected=f"settings of kdret.{index.__name__}: {', '.join(sorted(known - {'similarity'}))}",
                fix="leave it out",
            )
        return index(similarity=self.similarity, **given)

    def fingerprint(self) -> str:
        """Identify the model; see `model_fingerprint`."""
        return model_fingerprint(self.model, self.encoder)

    def _encoded(self, encode: Any, texts: list[str], progress: bool = False) -> Any:
        options: dict[str, Any] = {
            "batch_size": self.batch_size,
            "show_progress_bar": progress and sys.stderr.isatty(),
        }
        if self.kind == "sparse":
            found = encode(texts, convert_to_sparse_tensor=True, save_to_cpu=True, **options).coalesce()
            return sparse.csr_array((found.values().float().numpy(), found.indices().numpy()), shape=tuple(found.shape))
        return encode(texts, convert_to_numpy=True, normalize_embeddings=self.similarity == "cosine", **options)


def model_fingerprint(model: str, encoder: Any) -> str:
    """Identify a model by its files, or one that is on the hub by its weights.

    Args:
        model: Its name.
        encoder: The loaded model.
    """
    folder = model_folder(model)
    digest = hashlib.sha256()
    if folder is not None:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            digest.update(str(path.relative_to(folder)).encode() + path.read_bytes())
        return digest.hexdigest()
    digest.update(repr((encoder, encoder.prompts, encoder.max_seq_length)).encode())
    digest.update(weights_fingerprint(encoder).encode())
    return digest.hexdigest()


def weights_fingerprint(model: nn.Module) -> str:
    """Identify a model in memory by its structure and its weights."""
    digest = hashlib.sha256(repr(model).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
