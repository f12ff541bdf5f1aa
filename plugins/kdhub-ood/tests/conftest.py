"""Small collections, a tokenizer and a language model, made for a test."""

import os
from pathlib import Path

import pytest
import torch
import transformers

from kdhub.api import write_jsonl
from kdlm.tokenizer import load_tokenizer, train_tokenizer

INSIDE = ["book a flight to rome", "what is the weather like", "play some music", "set an alarm for nine"]
OUTSIDE = ["quarks and gluons confine", "zygotes undergo meiosis"]


@pytest.fixture
def clinc(tmp_path):
    """A folder in CLINC150's layout."""
    (tmp_path / "clinc").mkdir()
    domains = ("travel", "weather", "media", "time")
    for split in ("train", "val", "test"):
        rows = [
            {"text": f"{text} {number}", "intent": f"i{place}", "domain": domains[place]}
            for number in range(6)
            for place, text in enumerate(INSIDE)
        ]
        rows += [{"text": f"{text} {split}", "intent": "oos", "domain": "oos"} for text in OUTSIDE]
        write_jsonl(tmp_path / "clinc" / f"{split}.jsonl.gz", rows)
    return str(tmp_path / "clinc")


@pytest.fixture(scope="session")
def language_model(tmp_path_factory):
    """A folder with a random GPT-2 of two layers and its tokenizer."""
    folder = tmp_path_factory.mktemp("lm")
    (folder / "text.txt").write_text("\n".join(INSIDE * 3), encoding="utf-8")
    train_tokenizer(folder, [str(folder / "text.txt")], size=300, max_length=128)
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=300, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0, pad_token_id=0
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder / "model")
    load_tokenizer(str(folder / "tokenizer")).save_pretrained(folder / "model")
    load_tokenizer.cache_clear()
    return str(folder / "model")


@pytest.fixture
def shared_data():
    """The folder of the shared data; the test is skipped where it is not."""
    folder = Path(os.environ.get("KDHUB_DATA") or Path(__file__).resolve().parents[3].parent / "shared" / "data")
    if not (folder / "clinc150").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI must have the shared data in {folder}")
        pytest.skip(f"no shared data in {folder}; set KDHUB_DATA")
    return folder
