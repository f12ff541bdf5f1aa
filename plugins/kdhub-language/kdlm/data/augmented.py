"""`Augmented`: a data set of texts and an edited copy of each, and the policies that edit."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch.utils.data import Dataset

from kdhub.api import UsageError, build, integer, number, require
from kdlm.data.texts import Texts
from kdlm.tokenizer import load_tokenizer


class Policy(Protocol):
    """Something that edits texts."""

    def __call__(self, texts: Sequence[str], chance: random.Random) -> list[str]:
        """Return an edited copy of each text; all that is random comes from ``chance``."""


class Augmented(Dataset[dict[str, Any]]):
    """A data set of texts, and after it one edited copy of each text.

    A copy keeps its text's label, and a live or stored teacher answers for the copy itself. The copies are made once, by the seed, and
    so are the same in each epoch. Put it around training data alone.

    Args:
        dataset: Config of a `kdlm.Texts` data set of single texts, such as a `kdlm.TextTable`.
        policies: Up to three policies, each applied to what the one before made: configs of `kdlm.RandomEdits` and
            `kdlm.MaskedWords`. The Distiller study draws such lists.
        seed: Of all that is random.

    Raises:
        UsageError: For no policy or more than three, and for a data set of other samples.
    """

    def __init__(self, dataset: Any, policies: Sequence[Any], seed: int = 0) -> None:
        require("Augmented", integer(0), seed=seed)
        if not 1 <= len(policies) <= 3:
            raise UsageError("Augmented: bad policies", expected="one to three", got=str(len(policies)))
        self.data = build("dataset", dataset, where="Augmented.dataset") if isinstance(dataset, Mapping) else dataset
        if not isinstance(self.data, Texts) or not all(isinstance(text, str) for text in self.data.texts[:1]):
            raise UsageError(
                "Augmented edits single texts",
                where="Augmented.dataset",
                expected="a data set of kdlm or kdood without pair=",
                got=type(self.data).__name__,
            )
        chance, texts = random.Random(seed), self.data.texts
        for place, policy in enumerate(policies):
            built = (
                build("transform", policy, where=f"Augmented.policies.{place}")
                if isinstance(policy, Mapping)
                else policy
            )
            texts = built(texts, chance)
        self.copies = self.data.like(texts)
        self.metainfo = self.data.metainfo

    def __len__(self) -> int:
        """Return the number of texts and copies; a copy of which nothing was left is none."""
        return len(self.data) + len(self.copies)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample, as `kdlm.Texts` gives it."""
        place = index - len(self.data)
        sample: dict[str, Any] = self.copies[place] if place >= 0 else self.data[index]
        return sample

    def fingerprint(self) -> str:
        """Identify texts and copies."""
        return f"{self.data.fingerprint()}-{self.copies.fingerprint()}"


class RandomEdits:
    """Edits words at random: each, with a probability, is dropped, doubled, or exchanged with its neighbour or a word of another text.

    Args:
        probability: Of an edit of each word; 0.3, the default, is the study's.

    Raises:
        UsageError: For a probability above 1.
    """

    def __init__(self, probability: float = 0.3) -> None:
        self.probability = _probability("RandomEdits", probability)

    def __call__(self, texts: Sequence[str], chance: random.Random) -> list[str]:
        """Edit each text; one of a single word is never emptied."""
        pool = [word for text in texts for word in text.split()]
        return [" ".join(self._edited(text.split(), pool, chance)) for text in texts]

    def _edited(self, words: list[str], pool: Sequence[str], chance: random.Random) -> list[str]:
        found: list[str] = []
        for word in words:
            edit = chance.choice(("drop", "double", "swap", "replace")) if chance.random() < self.probability else ""
            if edit == "swap" and found:
                found.insert(len(found) - 1, word)
            elif edit == "replace":
                found.append(chance.choice(pool))
            elif edit != "drop":
                found += [word] * (2 if edit == "double" else 1)
        return found or words


class MaskedWords:
    """Hides words at random, and lets a masked language model fill them in by the words around.

    Args:
        model: Folder, or name on the hub, of a masked language model and its tokenizer, such as ``distilbert-base-uncased``.
        probability: Of each token to be hidden; 0.3, the default, is the study's.
        best: A hidden token becomes one of so many likeliest ones, each alike.
        batch_size: Texts that run at once.
        max_length: Tokens of a text that are read; what follows is left out.

    Raises:
        UsageError: For a probability above 1, and a tokenizer without a mask token.
    """

    def __init__(
        self, model: str, probability: float = 0.3, best: int = 5, batch_size: int = 32, max_length: int = 128
    ) -> None:
        require("MaskedWords", integer(1), best=best, batch_size=batch_size, max_length=max_length)
        self.model = model
        self.probability = _probability("MaskedWords", probability)
        self.best = best
        self.batch_size = batch_size
        self.max_length = max_length
        self.tokenizer = load_tokenizer(model)
        if self.tokenizer.mask_token_id is None:
            raise UsageError(
                "no masked language model",
                where="MaskedWords.model",
                expected="a mask token in its tokenizer",
                got=model,
            )

    def __call__(self, texts: Sequence[str], chance: random.Random) -> list[str]:
        """Fill in hidden tokens of each text."""
        from transformers import AutoModelForMaskedLM

        net = AutoModelForMaskedLM.from_pretrained(self.model).eval()
        starts = range(0, len(texts), self.batch_size)
        return [one for begin in starts for one in self._filled(net, texts[begin : begin + self.batch_size], chance)]

    @torch.inference_mode()
    def _filled(self, net: Any, texts: Sequence[str], chance: random.Random) -> list[str]:
        batch = self.tokenizer(
            list(texts), return_tensors="pt", padding=True, truncation=True, max_length=self.max_length
        )
        ids, special = batch["input_ids"], set(self.tokenizer.all_special_ids)
        hidden = torch.tensor(
            [[token not in special and chance.random() < self.probability for token in row] for row in ids.tolist()]
        )
        asked = batch | {"input_ids": ids.masked_fill(hidden, self.tokenizer.mask_token_id)}
        scores = net(**asked).logits[hidden]
        scores[:, sorted(one for one in special if one < scores.shape[1])] = -torch.inf
        likeliest = scores.topk(min(self.best, scores.shape[1]), 1).indices.tolist()
        filled = ids.clone()
        filled[hidden] = torch.tensor([chance.choice(row) for row in likeliest], dtype=ids.dtype)
        decoded: list[str] = self.tokenizer.batch_decode(filled, skip_special_tokens=True)
        return decoded


def _probability(owner: str, probability: float) -> float:
    require(owner, number(above=0), probability=probability)
    if probability > 1:
        raise UsageError(f"{owner}: bad probability", expected="above 0, up to 1", got=repr(probability))
    return probability
