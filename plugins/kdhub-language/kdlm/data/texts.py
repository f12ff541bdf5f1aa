"""`Texts`: texts as tokens, made once; the base of every data set of text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import Dataset

from kdhub.api import FLAG, UsageError, choice, integer, optional, require
from kdlm.tokenizer import load_tokenizer

IGNORED = -100
"""Label of a position that no loss counts, as torch's cross-entropy has it."""


class Texts(Dataset[dict[str, Any]]):
    """Texts as tokens, for a language model or, with labels, for a classifier.

    A sample is a dict with ``input_ids`` (L,), what else the tokenizer makes, such as ``token_type_ids``, ``labels``, and
    ``pad``, the token with which `kdlm.collate_tokens` pads. Labels of a language model are its own tokens, not yet shifted, as
    transformers' models take them; nothing predicts the first.

    Empty texts are left out and counted. So are, for a language model, texts of fewer than 2 tokens: they hold nothing to predict.

    Args:
        texts: The texts; a pair of texts is a tuple.
        labels: Class of each text; ``None`` for a language model.
        classes: Names of the classes.
        tokenizer: A folder or a name on the hub, see `kdlm.tokenizer.load_tokenizer`.
        max_length: Most tokens of a text, end-of-text and other special tokens included.
        too_long: ``'cut'`` shortens longer texts and counts them; ``'drop'`` leaves them out and counts them; ``'error'`` stops.
        end_of_text: Whether exactly one end-of-text token ends each text, also one that was cut; ``'uncut'``: only those that have
            room for it, as in the released code of MLKD. ``None`` is ``True`` for a language model, ``False`` for a classifier.
        fields: More values of each text, such as ``ood``, which a batch carries as they are.
        source: What the texts are, for messages.

    Attributes:
        counts: ``texts`` kept, and how many were ``empty``, ``short``, ``cut`` and ``dropped``.
        metainfo: ``tokenizer``, by which it is saved with the student, and ``classes``.
        kept: Which of the given texts are here, by index.
        texts: Those texts.

    Raises:
        UsageError: For arguments that do not fit, a limit above the tokenizer's own, no end-of-text token where one is needed, and
            if no text is left.
    """

    def __init__(
        self,
        texts: Sequence[Any],
        tokenizer: str,
        labels: Sequence[int] | None = None,
        classes: Sequence[str] = (),
        max_length: int = 128,
        too_long: str = "cut",
        end_of_text: bool | str | None = None,
        fields: Mapping[str, Sequence[Any]] | None = None,
        source: str = "texts",
    ) -> None:
        owner = type(self).__name__
        require(owner, integer(2), max_length=max_length)
        require(owner, choice(("cut", "drop", "error")), too_long=too_long)
        if end_of_text != "uncut":
            require(owner, optional(FLAG), end_of_text=end_of_text)
        self._tokenizer = load_tokenizer(tokenizer)
        if max_length > self._tokenizer.model_max_length:
            raise UsageError(
                f"{owner}: texts longer than the model takes",
                expected=f"max_length up to {self._tokenizer.model_max_length}, which the tokenizer {tokenizer} records",
                got=str(max_length),
            )
        self.max_length = max_length
        self.end_of_text = labels is None if end_of_text is None else end_of_text
        if self.end_of_text and self._tokenizer.eos_token_id is None:
            raise UsageError(
                f"{owner}: the tokenizer {tokenizer} has no end-of-text token",
                fix="set end_of_text=False, or give it one: tokenizer.add_special_tokens({'eos_token': '<|endoftext|>'})",
            )
        self.language_model = labels is None
        self.counts = dict.fromkeys(("texts", "empty", "short", "cut", "dropped"), 0)
        self.metainfo: dict[str, Any] = {"tokenizer": tokenizer} | ({"classes": tuple(classes)} if classes else {})
        self._encode(texts, too_long, source)
        kept = self.kept.tolist()
        self.texts = [texts[index] for index in kept]
        self._labels = None if labels is None else np.asarray(labels, np.int64)[kept]
        self._fields = {name: [values[index] for index in kept] for name, values in (fields or {}).items()}
        self._say(source)

    def __len__(self) -> int:
        """Return the number of texts that were kept."""
        return len(self.kept)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample; see the class."""
        span = slice(int(self._starts[index]), int(self._starts[index + 1]))
        sample: dict[str, Any] = {name: _long(values[span]) for name, values in self._columns.items()}
        if self._labels is not None:
            sample["labels"] = int(self._labels[index])
        else:
            sample["labels"] = sample["input_ids"].clone()
            sample["labels"][0] = IGNORED  # padding on the left would make it a prediction
        return sample | {name: values[index] for name, values in self._fields.items()} | {"pad": self.pad}

    @property
    def pad(self) -> int:
        """The token with which batches are padded."""
        return int(self._tokenizer.pad_token_id)

    def fingerprint(self) -> str:
        """Identify the tokens and labels."""
        digest = hashlib.sha256(self._starts.tobytes())
        for name, values in self._columns.items():
            digest.update(name.encode() + values.tobytes())
        if self._labels is not None:
            digest.update(self._labels.tobytes())
        return digest.hexdigest()

    def like(self, texts: Sequence[Any]) -> Texts:
        """Tokenise other texts in the place of these, with their labels, fields and options; longer ones are cut.

        Args:
            texts: As many as there are here.
        """
        return Texts(
            texts,
            self.metainfo["tokenizer"],
            None if self._labels is None else self._labels.tolist(),
            self.metainfo.get("classes", ()),
            self.max_length,
            end_of_text=self.end_of_text,
            fields=self._fields,
        )

    def _encode(self, texts: Sequence[Any], too_long: str, source: str) -> None:
        filled = [index for index, text in enumerate(texts) if _is_filled(text)]
        self.counts["empty"] = len(texts) - len(filled)
        encoded = self._tokens([texts[index] for index in filled]) if filled else {"input_ids": []}
        columns: dict[str, list[Any]] = {name: [] for name in encoded}
        kept = []
        for place, index in enumerate(filled):
            row = {name: values[place] for name, values in encoded.items()}
            # a text that fits without its end of text is whole where there need be none
            if len(row["input_ids"]) > self.max_length + (self.end_of_text == "uncut"):
                if too_long == "error":
                    raise UsageError(
                        f"a text of {len(row['input_ids'])} tokens",
                        where=f"{source}, text {index + 1}",
                        expected=f"up to {self.max_length}",
                        fix="raise max_length, or set too_long='cut'",
                    )
                self.counts["dropped" if too_long == "drop" else "cut"] += 1
                if too_long == "drop":
                    continue
                row = self._cut(texts[index])
            elif len(row["input_ids"]) > self.max_length:
                row = self._cut(texts[index])
            if self.language_model and len(row["input_ids"]) < 2:
                self.counts["short"] += 1
                continue
            kept.append(index)
            for name, values in row.items():
                columns[name].append(np.asarray(values, np.int32))
        self.counts["texts"] = len(kept)
        if not kept:
            raise UsageError("no text is left", where=source, got=_in_words(self.counts))
        self.kept = np.asarray(kept, np.int64)
        self._starts = np.cumsum([0] + [len(ids) for ids in columns["input_ids"]])
        self._columns = {name: np.concatenate(values) for name, values in columns.items()}

    def _tokens(self, texts: list[Any], limit: int | None = None) -> dict[str, list[list[int]]]:
        """Tokenise; with the end of text, which a limit leaves room for."""
        firsts, seconds = zip(*texts, strict=True) if isinstance(texts[0], tuple) else (texts, None)
        ends = bool(self.end_of_text) and not (self.end_of_text == "uncut" and limit is not None)
        more = {} if limit is None else {"truncation": True, "max_length": limit - ends}
        found = self._tokenizer(
            list(firsts), None if seconds is None else list(seconds), verbose=False, return_attention_mask=False, **more
        )
        rows = {name: [list(ids) for ids in values] for name, values in found.items()}
        if ends:
            end = self._tokenizer.eos_token_id
            for place, ids in enumerate(rows["input_ids"]):
                if not ids or ids[-1] != end:
                    for name, values in rows.items():
                        values[place].append(end if name == "input_ids" else (values[place] or [0])[-1])
        return rows

    def _cut(self, text: Any) -> dict[str, list[int]]:
        return {name: values[0] for name, values in self._tokens([text], self.max_length).items()}

    def _say(self, source: str) -> None:
        if any(self.counts[name] for name in ("empty", "short", "cut", "dropped")):
            print_log(f"{source}: {_in_words(self.counts)}", "current")


def _in_words(counts: dict[str, int]) -> str:
    said = {
        "empty": "empty ones left out",
        "short": "of fewer than 2 tokens left out",
        "cut": "longer ones cut",
        "dropped": "longer ones left out",
    }
    return ", ".join(
        [f"{counts['texts']} texts", *(f"{counts[name]} {word}" for name, word in said.items() if counts[name])]
    )


def _is_filled(text: Any) -> bool:
    return all(one.strip() for one in text) if isinstance(text, tuple) else bool(text.strip())


def _long(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int64))
