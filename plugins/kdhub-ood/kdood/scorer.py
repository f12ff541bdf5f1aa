"""A saved scorer: a language model, how texts are scored, and the threshold above which one is out of distribution."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from kdhub.api import FLAG, UsageError, build, integer, number, require
from kdlm.tokenizer import load_tokenizer
from kdood.scores import text_nll

FILE = "scorer.json"
MODEL = "model"
_WINDOW = 16
"""So many batches of texts are read at a time, and scored in the order of their length, so that little is padding."""


class Settings(NamedTuple):
    """How a scorer scores.

    Attributes:
        threshold: A text whose mean negative log-likelihood is above it is out of distribution.
        keep: Share of the validation texts that are not above it.
        max_length: Texts are cut after this many tokens, end of text included.
        end_of_text: Whether the end of text is scored.
    """

    threshold: float
    keep: float
    max_length: int
    end_of_text: bool


class Score(NamedTuple):
    """What is said of one text.

    Attributes:
        nll: Mean negative log-likelihood, higher for texts out of distribution; NaN if the text has nothing to score.
        cut: Whether the text was longer than the scorer reads.
    """

    nll: float
    cut: bool


class Scorer:
    """Scores texts by the mean negative log-likelihood of a causal language model.

    Args:
        model: Folder, or name on the hub, of model and tokenizer.
        max_length: Texts are cut after this many tokens, end of text included.
        end_of_text: Whether exactly one end of text is scored after each text, so that a text of one token has a score.
        batch_size: Texts that run at once.

    Raises:
        UsageError: For a model that cannot be loaded, or takes fewer tokens.
    """

    def __init__(self, model: str, max_length: int = 128, end_of_text: bool = True, batch_size: int = 16) -> None:
        from transformers import AutoModelForCausalLM

        require("Scorer", integer(2), max_length=max_length)
        require("Scorer", integer(1), batch_size=batch_size)
        require("Scorer", FLAG, end_of_text=end_of_text)
        self.tokenizer = load_tokenizer(model)
        try:
            self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        except (OSError, ValueError) as error:
            raise UsageError(
                f"cannot load the language model {model!r}",
                expected="a folder of transformers with a causal language model, or a name on the hub",
                got=" ".join(str(error).split())[:200],
            ) from error
        most = getattr(self.model.config, "max_position_embeddings", max_length)
        if max_length > most:
            raise UsageError(
                "the model takes fewer tokens", where="max_length", expected=f"up to {most}", got=str(max_length)
            )
        if end_of_text and self.tokenizer.eos_token_id is None:
            raise UsageError("the tokenizer has no end of text to score", where=model, fix="set end_of_text=False")
        self.max_length = max_length
        self.end_of_text = end_of_text
        self.batch_size = batch_size

    def scores(self, texts: Iterable[str]) -> Iterator[Score]:
        """Score texts one after the other, in constant memory however many there are.

        Args:
            texts: Any number of texts.

        Yields:
            One score a text, in their order.
        """
        waiting = iter(texts)
        while window := list(itertools.islice(waiting, self.batch_size * _WINDOW)):
            yield from self._of_window(window)

    def _of_window(self, texts: Sequence[str]) -> list[Score]:
        room = self.max_length - self.end_of_text
        tokens: list[list[int]] = self.tokenizer([*texts], verbose=False)["input_ids"]
        found = np.full(len(texts), np.nan)
        lengths = [min(len(ids), room) for ids in tokens]
        least = 1 if self.end_of_text else 2  # what is needed so that anything is predicted
        order = sorted(
            (place for place, n in enumerate(lengths) if n >= least and texts[place].strip()), key=lengths.__getitem__
        )
        for begin in range(0, len(order), self.batch_size):
            places = order[begin : begin + self.batch_size]
            found[places] = self._of_batch([tokens[place][:room] for place in places])
        return [Score(float(nll), len(ids) > room) for nll, ids in zip(found, tokens, strict=True)]

    @torch.inference_mode()
    def _of_batch(self, tokens: Sequence[list[int]]) -> np.ndarray:
        length = max(map(len, tokens)) + self.end_of_text
        end = self.tokenizer.eos_token_id if self.end_of_text else self.tokenizer.pad_token_id
        ids = torch.full((len(tokens), length), end)
        mask = torch.zeros((len(tokens), length), dtype=torch.long)
        for row, one in enumerate(tokens):
            ids[row, : len(one)] = torch.tensor(one)
            mask[row, : len(one)] = 1
        logits = self.model(input_ids=ids, attention_mask=mask).logits
        return text_nll(logits, ids, mask, self.end_of_text).double().numpy()


def fit_scorer(
    folder: Path,
    model: str,
    validation: Any,
    keep: float = 0.95,
    max_length: int = 128,
    end_of_text: bool = True,
    batch_size: int = 16,
) -> dict[str, Any]:
    """Copy a language model, and choose the threshold on validation texts that are in distribution; a job.

    Args:
        folder: Folder of the job; `open_scorer` and ``kdhub ood score`` read it.
        model: Folder of a causal language model and its tokenizer, such as ``@student/student``.
        validation: Config of a data set of kdood, of which the texts in distribution are taken, or path of a text file.
        keep: Share of the validation texts that shall count as in distribution.
        max_length: Texts are cut after this many tokens.
        end_of_text: Whether the end of text is scored.
        batch_size: Texts that run at once.

    Returns:
        ``threshold``, ``texts`` it was chosen on, and their mean ``nll``.

    Raises:
        UsageError: For a share outside of (0, 1), or without a text that can be scored.
    """
    require("fit_scorer", number(above=0), keep=keep)
    if keep >= 1:
        raise UsageError("fit_scorer: bad keep", expected="a number between 0 and 1", got=repr(keep))
    if not Path(model).is_dir():
        raise UsageError("a scorer keeps its model: give a folder", where="job.model", got=model)
    scorer = Scorer(model, max_length, end_of_text, batch_size)
    scores = np.array([score.nll for score in scorer.scores(_validation(validation))])
    scores = scores[~np.isnan(scores)]
    if not len(scores):
        raise UsageError("no validation text can be scored", where="job.validation")
    threshold = float(np.quantile(scores, keep, method="higher"))
    if Path(folder, MODEL).exists():  # of a run that was stopped
        shutil.rmtree(Path(folder, MODEL))
    shutil.copytree(model, Path(folder, MODEL))
    settings = Settings(threshold, keep, max_length, end_of_text)
    Path(folder, FILE).write_text(json.dumps(settings._asdict(), indent=2) + "\n", encoding="utf-8")
    return {"threshold": threshold, "texts": len(scores), "nll": float(scores.mean())}


def open_scorer(folder: Path, batch_size: int = 16) -> tuple[Scorer, Settings]:
    """Read what `fit_scorer` wrote.

    Raises:
        UsageError: If it is not there, or cannot be read.
    """
    file = Path(folder, FILE)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        settings = Settings(**content)
        sound = math.isfinite(settings.threshold)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            "no scorer",
            where=str(folder),
            expected=f"a folder with {FILE}, which the job kdood.fit_scorer writes",
            got=str(error),
            fix="train one: kdhub train kdood:clinc-scorer",
        ) from error
    if not sound:
        raise UsageError("a threshold that is no number", where=str(file), got=str(settings.threshold))
    return Scorer(str(Path(folder, MODEL)), settings.max_length, settings.end_of_text, batch_size), settings


def _validation(spec: Any) -> list[str]:
    from kdhub.api import read_lines
    from kdlm.tokenizer import found_file

    if isinstance(spec, str):
        return [text for _, text in read_lines(found_file(spec, "job.validation"))]
    data = build("dataset", {**spec, "part": "in"}, where="job.validation")
    return list(data.texts)
