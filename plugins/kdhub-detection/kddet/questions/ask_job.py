"""The job `kddet.Ask`: asks a model every question about every image, and loses no paid answer."""

from __future__ import annotations

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
_Asked = tuple[int, int, str, str]


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
            tuple that begins with it, or has it as ``inputs``.
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
        UsageError: If the questions or the data changed since the first answers, the server refuses or leaves questions without an
            answer, or most answers are unsure; what was answered is kept.
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
    done = {(entry["image"], entry["question"]) for entry in log.entries()}
    left = len(dataset) * len(bank) - len(done)
    if here:
        with log:
            _answer_here(load_local(model, prompt), dataset, bank, done, log)
    else:
        client = openai_client(base_url, api_key_env, timeout, retries, "kdhub-detection[server]")
        with client, log:
            _ask_server(ServerAnswers(client, model, prompt), dataset, bank, done, log, concurrency, price)
    facts = finish(folder, len(dataset), bank, model)
    if facts["unsure"] > LEAST_SURE:
        raise UsageError(
            "most answers are neither Yes nor No",
            where="job.prompt",
            expected="the two together to be likely",
            got=f"less than {LEAST_SURE} in {facts['unsure']:.0%} of the answers",
            fix="tell it in the prompt to answer with Yes or No only",
        )
    return {"images": len(dataset), "questions": len(bank), "asked": left, **facts}


def _ask_server(
    server: ServerAnswers,
    dataset: Any,
    bank: QuestionBank,
    done: set[tuple[int, int]],
    log: AnswerLog,
    concurrency: int,
    price: float | None,
) -> None:
    waiting = _questions(dataset, bank, done)
    total = len(dataset) * len(bank)
    if first := next(waiting, None):
        started = time.monotonic()
        tokens = _keep(log, ask_all(lambda one: server(*one[2:]), [first], 1))
        _say_estimate(total - len(done), time.monotonic() - started, concurrency, tokens, price)
    for count, answered in enumerate(ask_all(lambda one: server(*one[2:]), waiting, concurrency), 2):
        _keep(log, iter([answered]))
        if count % _SAY_EVERY == 0:
            say(f"answers {len(done) + count}/{total}")


def _answer_here(
    model: LocalAnswers, dataset: Any, bank: QuestionBank, done: set[tuple[int, int]], log: AnswerLog
) -> None:
    with Progress("answers", len(dataset), unit="images") as progress:
        for place in range(len(dataset)):
            missing = [one for one in range(len(bank)) if (place, one) not in done]
            if missing:
                answers = model(image_of(dataset[place]), [bank.questions[one] for one in missing])
                for one, answer in zip(missing, answers, strict=True):
                    log.write({"image": place, "question": one, "yes": answer.yes, "sure": answer.sure})
            progress.reach(place + 1)


def _questions(dataset: Any, bank: QuestionBank, done: set[tuple[int, int]]) -> Iterator[_Asked]:
    for place in range(len(dataset)):
        missing = [one for one in range(len(bank)) if (place, one) not in done]
        if missing:
            image = encoded(image_of(dataset[place]))
            yield from ((place, one, image, bank.questions[one]) for one in missing)


def image_of(sample: Any) -> Image.Image:
    """Take the image out of a sample.

    Raises:
        UsageError: If it is neither an image of Pillow nor bytes ``(3, H, W)``.
    """
    if isinstance(sample, Mapping):
        sample = sample.get("inputs")
    elif isinstance(sample, tuple | list):
        sample = sample[0]
    if isinstance(sample, Image.Image):
        return sample.convert("RGB")
    if isinstance(sample, Tensor) and sample.ndim == 3 and len(sample) == 3 and not sample.is_floating_point():
        return Image.fromarray(sample.permute(1, 2, 0).numpy().astype(np.uint8))
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


def _keep(log: AnswerLog, answers: Iterator[tuple[_Asked, Answer]]) -> int:
    tokens = 0
    for (place, number_, *_), answer in answers:
        log.write({"image": place, "question": number_, "yes": answer.yes, "sure": answer.sure})
        tokens = answer.tokens
    return tokens


def _say_estimate(left: int, seconds: float, concurrency: int, tokens: int, price: float | None) -> None:
    text = f"{left} questions, by the first of them about {duration(left * seconds / concurrency)}"
    if tokens:
        text += f" and {left * tokens / 1e6:.2f} million tokens"
        text += f", {left * tokens / 1e6 * price:.2f} at {price:g} a million" if price else ""
    say(text)
