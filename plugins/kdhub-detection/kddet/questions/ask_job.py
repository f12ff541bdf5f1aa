"""The job `kddet.Ask`: asks a model every question about every image, and loses no paid answer."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import DATASETS
from PIL import Image
from torch import Tensor

from kddet.aspects import QuestionBank
from kddet.questions.answering import LEAST_SURE, PROMPT, Answer, ServerAnswers, encoded
from kddet.questions.answers import ANSWERS, BEGUN, finish
from kddet.questions.local import LocalAnswers, load_local
from kdhub.api import (
    FLAG,
    AnswerLog,
    Progress,
    UsageError,
    ask_all,
    duration,
    integer,
    number,
    openai_client,
    optional,
    read_sealed,
    require,
    say,
    write_sealed,
)

_SAY_EVERY = 200
_FIRST = 20
"""So many answers tell whether a model says Yes and No at all, before much is paid."""
_Asked = tuple[int, int, str, str, str]


def ask(
    folder: Path,
    questions: str,
    data: Mapping[str, Any],
    model: str,
    base_url: str | None = None,
    api_key_env: str = "OPENAI_API_KEY",
    here: bool = False,
    prompt: str = PROMPT,
    price: float | None = None,
    concurrency: int = 4,
    timeout: float = 60.0,
    retries: int = 5,
) -> dict[str, Any]:
    """Ask a model, behind a server of OpenAI's protocol or on this machine, the questions of a bank about the images of a data set.

    One question is asked first, to say how long all of them will take and, with ``price``, what they will cost. Each answer is
    on the disk before the next is looked at; after Ctrl-C, a crash or a server that was gone, the same command asks the rest.

    Args:
        folder: Folder of the job.
        questions: File with one question a line.
        data: Config of the training data without augmentation; a sample is an image of Pillow or bytes ``(3, H, W)``, or a
            tuple that begins with it, or has it as ``inputs``. With ``data_samples`` beside these, as of OpenMMLab's pipelines,
            the channels are blue, green and red.
        model: Name by which the server knows the model; with ``here``, a folder or a name on the hub.
        base_url: The server; ``None`` for OpenAI's.
        api_key_env: Environment variable that holds the key, which is never written or logged.
        here: Whether transformers runs the model on this machine, and no server is asked.
        prompt: Text around a question, with ``{}`` in its place.
        price: Of a million tokens, in any currency.
        concurrency: Questions under way at once.
        timeout: Seconds to wait for an answer.
        retries: How often a question is asked again if the server is busy or fails.

    Returns:
        ``images``, ``questions``, ``asked`` now, and ``unsure``: the share of answers of which Yes and No together were less
        likely than a half. ``constant`` are the numbers of questions that all images answer alike, which teach nothing.

    Raises:
        UsageError: If the questions or an image that was asked about changed since the first answers, the server refuses or leaves
            questions without an answer, or most answers are unsure; what was answered is kept.
    """
    require("Ask", integer(1), concurrency=concurrency)
    require("Ask", integer(0), retries=retries)
    require("Ask", number(above=0), timeout=timeout)
    require("Ask", optional(number(above=0)), price=price)
    require("Ask", FLAG, here=here)
    if "{}" not in prompt:
        raise UsageError(
            "the prompt has no place for the question", where="job.prompt", expected="{}", got=repr(prompt)
        )
    bank = QuestionBank.read(Path(questions).expanduser())
    dataset = DATASETS.build(dict(data))
    _begin(folder, bank, len(dataset), model, prompt)
    log = AnswerLog(folder / ANSWERS)
    kept = _Kept(log)
    left = len(dataset) * len(bank) - len(kept.done)
    if here:
        with log:
            _answer_here(load_local(model, prompt), dataset, bank, kept)
    else:
        client = openai_client(base_url, api_key_env, timeout, retries, "kdhub-detection[server]")
        with client, log:
            _ask_server(ServerAnswers(client, model, prompt), dataset, bank, kept, concurrency, price)
    kept.see_that_sure()
    return {"images": len(dataset), "questions": len(bank), "asked": left, **finish(folder, len(dataset), bank, model)}


class _Kept:
    """The answers on the disk, and whether the model is sure of them.

    Attributes:
        done: Which images, by number, were asked which questions.
        images: Number of an image to the digest of what was asked about.
        in_vain: Whether it was found, in time, that most answers are neither Yes nor No.
    """

    def __init__(self, log: AnswerLog) -> None:
        self._log = log
        self.done: set[tuple[int, int]] = set()
        self.images: dict[int, str] = {}
        self._unsure = 0
        self.in_vain = False
        for entry in log.entries():
            self._count(entry)
        self.in_vain = len(self.done) >= _FIRST and self._share() > LEAST_SURE

    def write(self, image: int, question: int, digest: str, answer: Answer) -> None:
        entry = {"image": image, "question": question, "yes": answer.yes, "sure": answer.sure, "sha256": digest}
        self._log.write(entry)
        self._count(entry)
        if len(self.done) == _FIRST or len(self.done) % _SAY_EVERY == 0:
            self.in_vain = self._share() > LEAST_SURE

    def see_that_sure(self) -> None:
        """Raise a `UsageError` if most answers are unsure."""
        if self._share() > LEAST_SURE:
            raise UsageError(
                "most answers are neither Yes nor No",
                where="job.prompt",
                expected="the two together to be likely",
                got=f"less than {LEAST_SURE} in {self._share():.0%} of {len(self.done)} answers",
                fix="tell it in the prompt to answer with Yes or No only, and ask in another folder",
            )

    def missing(self, dataset: Any, place: int, questions: int) -> tuple[Image.Image, str, list[int]] | None:
        """Return an image, its digest and the questions that it was not asked; see that it is the one that was asked others."""
        missing = [one for one in range(questions) if (place, one) not in self.done]
        if not missing and place not in self.images:
            return None
        image = image_of(dataset[place])
        digest = hashlib.sha256(f"{image.size} ".encode() + image.tobytes()).hexdigest()[:16]
        if self.images.get(place, digest) != digest:
            raise UsageError(
                "the answers here are about another image",
                where=f"job.data, image {place}",
                expected=f"sha256 {self.images[place]}",
                got=digest,
                fix="ask in another folder, or put the old data back; leave augmentation out of job.data",
            )
        return (image, digest, missing) if missing else None

    def _count(self, entry: Mapping[str, Any]) -> None:
        self.done.add((entry["image"], entry["question"]))
        if "sha256" in entry:
            self.images[entry["image"]] = entry["sha256"]
        self._unsure += entry["sure"] < LEAST_SURE

    def _share(self) -> float:
        return self._unsure / max(1, len(self.done))


def _ask_server(
    server: ServerAnswers,
    dataset: Any,
    bank: QuestionBank,
    kept: _Kept,
    concurrency: int,
    price: float | None,
) -> None:
    waiting = _questions(dataset, bank, kept)
    total = len(dataset) * len(bank)
    left = total - len(kept.done)
    if first := next(waiting, None):
        started = time.monotonic()
        tokens = 0
        for asked, answer in ask_all(lambda one: server(*one[3:]), [first], 1):
            kept.write(*asked[:3], answer)
            tokens = answer.tokens
        _say_estimate(left, time.monotonic() - started, concurrency, tokens, price)
    for asked, answer in ask_all(lambda one: server(*one[3:]), waiting, concurrency):
        kept.write(*asked[:3], answer)
        if len(kept.done) % _SAY_EVERY == 0:
            say(f"answers {len(kept.done)}/{total}")


def _answer_here(model: LocalAnswers, dataset: Any, bank: QuestionBank, kept: _Kept) -> None:
    with Progress("answers", len(dataset), unit="images") as progress:
        for place in range(len(dataset)):
            if kept.in_vain:
                break
            if found := kept.missing(dataset, place, len(bank)):
                image, digest, missing = found
                answers = model(image, [bank.questions[one] for one in missing])
                for one, answer in zip(missing, answers, strict=True):
                    kept.write(place, one, digest, answer)
            progress.reach(place + 1)


def _questions(dataset: Any, bank: QuestionBank, kept: _Kept) -> Iterator[_Asked]:
    for place in range(len(dataset)):
        if found := kept.missing(dataset, place, len(bank)):
            image, digest, missing = found
            text = encoded(image)
            for one in missing:
                # what was asked until now is answered and kept; it is ask who says why
                if kept.in_vain:
                    return
                yield place, one, digest, text, bank.questions[one]


def image_of(sample: Any) -> Image.Image:
    """Take the image out of a sample. Bytes beside ``data_samples`` are taken for BGR, as OpenMMLab reads files.

    Raises:
        UsageError: If it is neither an image of Pillow nor bytes ``(3, H, W)``.
    """
    reverse = False
    if isinstance(sample, Mapping):
        reverse = "data_samples" in sample
        sample = sample.get("inputs")
    elif isinstance(sample, tuple | list):
        sample = sample[0]
    if isinstance(sample, Image.Image):
        return sample.convert("RGB")
    if isinstance(sample, Tensor) and sample.ndim == 3 and len(sample) == 3 and not sample.is_floating_point():
        return Image.fromarray((sample.flip(0) if reverse else sample).permute(1, 2, 0).numpy().astype(np.uint8))
    raise UsageError(
        "a sample is no image",
        where="job.data",
        expected="an image of Pillow, or bytes (3, H, W)",
        got=type(sample).__name__,
        fix="leave normalisation and augmentation out of job.data",
    )


def _begin(folder: Path, bank: QuestionBank, images: int, model: str, prompt: str) -> None:
    """Write what is asked about what, or see that it is still the same."""
    now = {"questions": bank.version, "images": images, "model": model, "prompt": prompt}
    if not (folder / BEGUN).is_file():
        write_sealed(folder / BEGUN, now)
        return
    before = read_sealed(folder / BEGUN)
    if differing := [name for name in now if before.get(name) != now[name]]:
        raise UsageError(
            f"the answers here are to other {' and '.join(differing)}",
            where=str(folder),
            expected=str(before.get(differing[0])),
            got=str(now[differing[0]]),
            fix="ask in another folder, or put the old file back",
        )


def _say_estimate(left: int, seconds: float, concurrency: int, tokens: int, price: float | None) -> None:
    text = f"{left} questions, by the first of them about {duration(left * seconds / concurrency)}"
    if tokens:
        text += f" and {left * tokens / 1e6:.2f} million tokens"
        text += f", {left * tokens / 1e6 * price:.2f} at {price:g} a million" if price else ""
    say(text)
