"""The CLIP score, with a tiny CLIP model of random weights."""

import json

import pytest
import torch

from kdgen.clip_score import CLIPScore
from kdhub import UsageError

transformers = pytest.importorskip("transformers")
PROMPTS = ["a b", "b a"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a CLIP model as transformers saves it."""
    path = tmp_path_factory.mktemp("clip")
    words = ["<|startoftext|>", "<|endoftext|>", "a", "b", "a</w>", "b</w>"]
    (path / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (path / "merges.txt").write_text("#version: 0.2\n")
    common = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**common, "vocab_size": 6, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1},
        vision_config={**common, "image_size": 8, "patch_size": 4},
        projection_dim=4,
    )
    torch.manual_seed(1)  # of a model in which some image fits its text
    transformers.CLIPModel(config).save_pretrained(path)
    transformers.CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}).save_pretrained(
        path
    )
    transformers.CLIPTokenizer(str(path / "vocab.json"), str(path / "merges.txt")).save_pretrained(path)
    return path


def test_the_score_is_that_of_transformers(folder):
    """Images from 0 to 1 taken for -1 to 1, texts in another order, or the model's temperature, give a score as plausible."""
    samples, labels = torch.rand(5, 1, 12, 12) * 2 - 1, torch.tensor([0, 1, 1, 0, 1])
    metric = CLIPScore(str(folder), PROMPTS, chunk=2)
    for place in range(5):
        metric.process(None, [{"sample": samples[place], "label": labels[place]}])
    found = metric.evaluate(size=5)["clip_score"]

    from PIL import Image

    model = transformers.CLIPModel.from_pretrained(folder).eval()
    pixels = ((samples[:, 0] + 1) * 127.5).round().byte().numpy()
    images = [Image.fromarray(one).convert("RGB") for one in pixels]
    given = transformers.CLIPImageProcessor.from_pretrained(folder)(images=images, return_tensors="pt")
    tokens = transformers.CLIPTokenizer.from_pretrained(folder)(PROMPTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**tokens, **given).logits_per_image / model.logit_scale.exp()
    expected = 100 * logits[torch.arange(5), labels].clamp(min=0).mean()
    assert float(expected) != 0
    assert found == pytest.approx(float(expected), rel=1e-3)


def test_what_has_no_text_is_refused(folder, tmp_path):
    """A score over the samples that happen to have a text is the score of others."""
    metric = CLIPScore(str(folder), PROMPTS)
    metric.process(None, [{"sample": torch.zeros(3, 8, 8), "label": 2}])
    with pytest.raises(UsageError, match="labels up to 2, 2 prompts"):
        metric.evaluate(size=1)
    metric.results.clear()
    metric.process(None, [{"sample": torch.zeros(3, 8, 8)}])
    with pytest.raises(UsageError, match="0 labels"):
        metric.evaluate(size=1)
    with pytest.raises(UsageError, match="no CLIP model here"):
        CLIPScore(str(tmp_path), PROMPTS)
