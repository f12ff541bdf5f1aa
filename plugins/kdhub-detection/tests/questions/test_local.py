"""A model of transformers that answers many questions over one reading of the image."""

import re

import pytest
import torch
from PIL import Image
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from kddet.questions.local import LocalAnswers
from kdhub.api import UsageError

IMAGE, PATCHES = 1, 4


class Processor:
    """Words of a small vocabulary, and an image as 4 tokens before the question."""

    def __init__(self, words):
        self.words = {word: number for number, word in enumerate(words, 2)}
        self.tokenizer = self

    def encode(self, text, add_special_tokens=True):
        return [self.words[word] for word in re.findall(r"\w+", text) if word in self.words]

    def apply_chat_template(self, messages, add_generation_prompt):
        assert [part["type"] for part in messages[0]["content"]] == ["image", "text"]
        return "user " + messages[0]["content"][1]["text"] + " assistant"

    def __call__(self, images, text, return_tensors):
        words = self.encode(text)
        ids = torch.tensor([[words[0], *[IMAGE] * PATCHES, *words[1:]]])
        pixels = torch.tensor(images.resize((8, 8)).getdata(), dtype=torch.float32).T.reshape(1, 3, 8, 8) / 255
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}


@pytest.fixture(scope="module")
def llava():
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4
    )
    text = LlamaConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        vocab_size=20,
    )
    return LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE))


WORDS = ["user", "assistant", "Yes", "No", "is", "it", "red", "bright", "or", "big"]
QUESTIONS = ["is it red?", "is it bright or big?", "big?"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_one_reading_of_the_image_gives_what_each_prompt_alone_gives(llava):
    """A question that sees the padding of another, or positions that begin anew, gives answers that look as good."""
    processor = Processor(WORDS)
    image = Image.new("RGB", (16, 16), (200, 30, 60))
    readings = []
    handle = llava.get_submodule("model.vision_tower").register_forward_hook(lambda *_: readings.append(1))
    answers = LocalAnswers(llava, processor, "{}")(image, QUESTIONS)
    handle.remove()
    assert len(readings) == 1
    yes, no = (processor.words[word] for word in ("Yes", "No"))
    for question, answer in zip(QUESTIONS, answers, strict=True):
        with torch.no_grad():
            logits = llava(**processor(image, f"user {question} assistant", "pt")).logits[0, -1]
        assert answer.yes == pytest.approx(torch.sigmoid(logits[yes] - logits[no]).item(), abs=1e-5)
        assert answer.sure == pytest.approx(logits.softmax(0)[[yes, no]].sum().item(), abs=1e-5)
    assert LocalAnswers(llava, processor, "{}")(image, []) == []
    assert LocalAnswers(llava, processor, "{}")(image, QUESTIONS[:1])[0].yes == pytest.approx(answers[0].yes, abs=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_braces_of_the_prompt_and_a_model_of_another_kind(llava):
    """A prompt may show JSON; and Qwen-VL without its token types reads the image as text, and answers anyway."""
    processor, image = Processor(WORDS), Image.new("RGB", (16, 16))
    (answer,) = LocalAnswers(llava, processor, '{} {"big": 1}')(image, QUESTIONS[:1])
    (plain,) = LocalAnswers(llava, processor, "{} big")(image, QUESTIONS[:1])
    assert answer == plain

    class WithTypes(Processor):
        def __call__(self, images, text, return_tensors):
            found = super().__call__(images, text, return_tensors)
            return found | {"mm_token_type_ids": torch.zeros_like(found["input_ids"])}

    with pytest.raises(UsageError, match=r"which tokens are an image's.*such as LLaVA.*behind a server"):
        LocalAnswers(llava, WithTypes(WORDS))(image, QUESTIONS)


def test_a_model_without_the_words(llava):
    """The first of two tokens of "Yes" would be taken for the answer."""
    with pytest.raises(UsageError, match="'No' is not a single token"):
        LocalAnswers(llava, Processor(["Yes"]))
