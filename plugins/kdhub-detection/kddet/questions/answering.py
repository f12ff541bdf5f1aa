"""Who answers: a language model behind a server, or one of transformers."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from PIL.Image import Image

from kdhub.api import UsageError

PROMPT = "{}\nAnswer with Yes or No only."
YES, NO = "Yes", "No"
LEAST_SURE = 0.5
"""If the two answers together are less likely than this, the prompt is wrong: the model would say something else."""


class Answer(NamedTuple):
    """What a model said to one question.

    Attributes:
        yes: Probability of "Yes" against "No".
        sure: Probability of the two together among all first tokens.
        tokens: Tokens read and written, where the server says.
    """

    yes: float
    sure: float
    tokens: int = 0


def answer_of(logarithms: Mapping[str, float]) -> Answer:
    """Make an answer of log-probabilities of first tokens.

    Args:
        logarithms: Token to its log-probability; those of other spelling (``yes``, `` Yes``) do not count, as in the authors' code.

    Raises:
        UsageError: If neither of the two is among them.
    """
    found = {name: logarithms.get(name, -math.inf) for name in (YES, NO)}
    if max(found.values()) == -math.inf:
        raise UsageError(
            "the model answers neither Yes nor No",
            where="job.prompt",
            expected=f"the first token {YES!r} or {NO!r} among the likeliest",
            got=", ".join(map(repr, list(logarithms)[:5])) or "no log-probabilities",
            fix="tell it in the prompt to answer with Yes or No only; see that the server gives logprobs",
        )
    yes, no = math.exp(found[YES]), math.exp(found[NO])
    return Answer(yes / (yes + no), min(1.0, yes + no))


class ServerAnswers:
    """Asks one question about one image; several threads may share it.

    Args:
        client: Of `kdhub.api.openai_client`.
        model: Name by which the server knows the model.
        prompt: Text around the question.
        top: How many of the likeliest tokens the server lists; OpenAI's most is 20.
    """

    def __init__(self, client: Any, model: str, prompt: str = PROMPT, top: int = 20) -> None:
        self._client = client
        self._model = model
        self._prompt = prompt
        self._top = top

    def __call__(self, image: str, question: str) -> Answer:
        """Ask.

        Args:
            image: As `encoded` writes it.
            question: The question.

        Raises:
            UsageError: If the server gives no log-probabilities, or answers something else.
        """
        content = [
            {"type": "image_url", "image_url": {"url": image}},
            {"type": "text", "text": self._prompt.replace("{}", question)},
        ]
        completion = self._client.chat.completions.create(
            model=self._model,
            messages=[{"role": "user", "content": content}],
            max_tokens=1,
            temperature=0.0,
            logprobs=True,
            top_logprobs=self._top,
        )
        choices = getattr(completion, "choices", None)
        listed = getattr(getattr(choices[0], "logprobs", None), "content", None) if choices else None
        if not listed:
            raise UsageError(
                "the server's answer has no log-probabilities",
                where="job.base_url",
                expected="a server of OpenAI's chat protocol that knows logprobs and top_logprobs",
                got=str(completion)[:80],
            )
        answer = answer_of({entry.token: entry.logprob for entry in listed[0].top_logprobs})
        return answer._replace(tokens=getattr(completion.usage, "total_tokens", 0) or 0)


def encoded(image: Image) -> str:
    """Write an image as a PNG within a text."""
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
