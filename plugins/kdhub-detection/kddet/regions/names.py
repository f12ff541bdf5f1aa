"""Names and their text embeddings, in the order of the labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kdhub.api import UsageError, near_matches, unit_vectors

TEMPLATE = "a photo of a {}"


def spoken(name: str) -> str:
    """Write a label as a person would say it: ``traffic_light`` and ``Traffic  Light`` are "traffic light"."""
    return " ".join(re.sub(r"[_\s]+", " ", name).split()).lower()


@dataclass(frozen=True)
class NameBank:
    """Names of classes and a unit vector for each: what a detector's text classifier is made of.

    Attributes:
        names: In the order of the labels; background is not among them.
        embeddings: ``(C, D)``, of unit length.
        source: The text model and template, for records.
    """

    names: tuple[str, ...]
    embeddings: Tensor
    source: str = ""

    def __post_init__(self) -> None:
        """See that names and embeddings go together.

        Raises:
            UsageError: If not, for two names that are spoken alike, and for an embedding that is zero or no number.
        """
        if self.embeddings.ndim != 2 or len(self.embeddings) != len(self.names):
            raise UsageError(
                "a name bank with another number of embeddings than names",
                expected=f"({len(self.names)}, D)",
                got=str(tuple(self.embeddings.shape)),
            )
        seen: dict[str, str] = {}
        for name in self.names:
            if spoken(name) in seen:
                raise UsageError("a name bank with one name twice", got=f"{seen[spoken(name)]!r} and {name!r}")
            seen[spoken(name)] = name
        lengths = torch.linalg.vector_norm(self.embeddings.float(), dim=1)
        wrong = ~(lengths.isfinite() & (lengths > 0))
        if wrong.any():
            named = self.names[int(wrong.nonzero()[0])]
            raise UsageError(
                "a name without a direction", got=f"{named!r}: an embedding of length {lengths[wrong][0]:g}"
            )
        object.__setattr__(self, "embeddings", unit_vectors(self.embeddings.float(), 1))

    @classmethod
    def of_templates(cls, names: Iterable[str], embeddings: Tensor, source: str = "") -> NameBank:
        """Average the embeddings of several templates: ``(templates, C, D)``, each made a unit vector first."""
        return cls(tuple(names), unit_vectors(embeddings.float(), 2).mean(0), source)

    def chosen(self, names: Sequence[str]) -> NameBank:
        """Take some of the names, in another order if need be.

        Raises:
            UsageError: For a name that is not here, with the nearest ones.
        """
        places = {spoken(name): place for place, name in enumerate(self.names)}
        for name in names:
            if spoken(name) not in places:
                raise UsageError("no such name in the bank", got=repr(name), near=near_matches(spoken(name), places))
        return NameBank(tuple(names), self.embeddings[[places[spoken(name)] for name in names]], self.source)

    def see_that_labels(self, classes: Sequence[str]) -> None:
        """See that the classes of a data set are these names, in this order.

        Raises:
            UsageError: If not: as many names in another order would make each object that is found another's.
        """
        ours, theirs = ([spoken(name) for name in names] for names in (self.names, classes))
        if ours == theirs:
            return
        place = next((n for n, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), None)
        one, other = (
            (f"{len(ours)} names", f"{len(theirs)} classes")
            if place is None
            else (f"label {place} is {self.names[place]!r}", f"{classes[place]!r}")
        )
        raise UsageError(
            "the data set's classes are not the names of the bank, in its order",
            where="train_dataloader.dataset",
            expected=one,
            got=other,
            fix="give the data set the names in the order in which the bank was made",
        )

    def save(self, path: str | Path) -> None:
        """Write a safetensors file; names stand in its metadata."""
        metadata = {"names": json.dumps(self.names), "source": self.source}
        save_file({"embeddings": self.embeddings.contiguous()}, path, metadata)

    @classmethod
    def read(cls, path: str | Path) -> NameBank:
        """Read what `save` wrote.

        Raises:
            UsageError: If there is no such file, or it holds no names.
        """
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                return cls(
                    tuple(json.loads(metadata["names"])), file.get_tensor("embeddings"), metadata.get("source", "")
                )
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise UsageError(
                "not a bank of names",
                where=str(path),
                expected="a file of kddet.regions.names.NameBank.save",
                got=f"{type(error).__name__}: {error}",
            ) from error
