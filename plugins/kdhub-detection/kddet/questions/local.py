"""A multimodal language model of transformers that answers on this machine, many questions over one reading of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from kddet.losses.aspects import yes_probability
from kddet.questions.answering import NO, PROMPT, YES, Answer
from kdhub.api import UsageError


class LocalAnswers:
    """Reads the logits of the first answer token.

    What all prompts of an image begin with, the image among it, is read once; only the questions themselves are read one by one,
    as one batch.

    Args:
        model: An image-text model of transformers that generates, such as LLaVA. Those of Qwen-VL's kind are refused: they count
            positions in three directions, which one reading of the image for many questions would lose.
        processor: Its processor.
        prompt: Text around a question.

    Raises:
        UsageError: If "Yes" or "No" is not a single token of the model.
    """

    def __init__(self, model: Any, processor: Any, prompt: str = PROMPT) -> None:
        self._model = model.eval()
        self._processor = processor
        self._prompt = prompt
        tokenizer = getattr(processor, "tokenizer", processor)
        self._yes, self._no = (_single(tokenizer, word) for word in (YES, NO))

    @torch.inference_mode()
    def __call__(self, image: Image, questions: Sequence[str]) -> list[Answer]:
        """Ask several questions about one image.

        Raises:
            UsageError: If the processor gives ``mm_token_type_ids``, as that of Qwen-VL does.
        """
        if not questions:
            return []
        device = next(self._model.parameters()).device
        given = [self._inputs(image, question) for question in questions]
        if "mm_token_type_ids" in given[0]:
            raise UsageError(
                "the model needs to be told which tokens are an image's, which this does not do",
                where="job.model",
                expected="a model such as LLaVA",
                got="mm_token_type_ids among what its processor gives",
                fix="ask it behind a server: here=False and job.base_url",
            )
        rows = [one.pop("input_ids")[0] for one in given]
        # at least one token of each is left, whose logits are the answer
        shared = min(_common(rows), min(len(row) for row in rows) - 1)
        pixels = {name: value.to(device) for name, value in given[0].items() if name not in _TEXT}
        start = self._model(
            input_ids=rows[0][None, :shared].to(device),
            attention_mask=torch.ones(1, shared, dtype=torch.long, device=device),
            use_cache=True,
            **pixels,
        )
        cache = start.past_key_values
        cache.batch_repeat_interleave(len(rows))
        lengths = torch.tensor([len(row) - shared for row in rows])
        rest = rows[0].new_zeros(len(rows), int(lengths.max()))
        for place, row in enumerate(rows):
            rest[place, : len(row) - shared] = row[shared:]
        seen = torch.arange(rest.shape[1]) < lengths.unsqueeze(1)
        mask = torch.cat((torch.ones(len(rows), shared, dtype=torch.long), seen.long()), 1)
        logits: Tensor = self._model(
            input_ids=rest.to(device), attention_mask=mask.to(device), past_key_values=cache, use_cache=True
        ).logits
        last = logits[torch.arange(len(rows)), lengths - 1].float().cpu()
        yes = yes_probability(last[:, self._yes], last[:, self._no])
        sure = last.softmax(1)[:, [self._yes, self._no]].sum(1)
        return [Answer(float(one), float(both)) for one, both in zip(yes, sure, strict=True)]

    def _inputs(self, image: Image, question: str) -> dict[str, Tensor]:
        content = [{"type": "image"}, {"type": "text", "text": self._prompt.replace("{}", question)}]
        text = self._processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        return dict(self._processor(images=image, text=text, return_tensors="pt"))


_TEXT = ("attention_mask", "token_type_ids")


def load_local(name: str, prompt: str = PROMPT) -> LocalAnswers:
    """Load a model and its processor.

    Args:
        name: A folder or a name on the hub.
        prompt: As of `LocalAnswers`.

    Raises:
        UsageError: If transformers is not installed or the model cannot be loaded.
    """
    try:
        from transformers import AutoModelForImageTextToText, AutoProcessor
    except ImportError as error:
        raise UsageError(
            "transformers is not installed, or too old for such models",
            fix="pip install 'kdhub-detection[transformers]'",
        ) from error
    try:
        model, processor = (part.from_pretrained(name) for part in (AutoModelForImageTextToText, AutoProcessor))
    except (OSError, ValueError) as error:
        raise UsageError("cannot load the model", where=name, got=" ".join(str(error).split())[:200]) from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return LocalAnswers(model.to(device), processor, prompt)


def _single(tokenizer: Any, word: str) -> int:
    tokens = tokenizer.encode(word, add_special_tokens=False)
    if len(tokens) != 1:
        raise UsageError(
            f"{word!r} is not a single token of the model",
            expected="one token",
            got=str(tokens),
            fix="take another model",
        )
    return int(tokens[0])


def _common(rows: Sequence[Tensor]) -> int:
    """Count the tokens that all rows begin with."""
    least = min(len(row) for row in rows)
    same = torch.stack([row[:least] for row in rows])
    differs = (same != same[:1]).any(0).nonzero()
    return int(differs[0]) if len(differs) else least
