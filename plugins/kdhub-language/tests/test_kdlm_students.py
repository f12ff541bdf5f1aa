"""Students: saved with their tokenizer, loaded without kdhub; LoRA; what only the teacher names; the recipes."""

import subprocess
import sys

import pytest
import torch
import transformers

from kdhub import UsageError
from kdhub.api import TorchModel, load_config, train
from kdlm.export import export_student
from kdlm.lora import lora

GPT2 = {"vocab_size": 300, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
OURS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
BERT = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def gpt2():
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(transformers.GPT2Config(**GPT2, **OURS))


def loaders(path, tokenizer, **options):
    dataset = {"type": "kdlm.TextLines", "path": path, "tokenizer": tokenizer, "max_length": 48} | options
    loader = {"batch_size": 2, "num_workers": 0, "dataset": dataset, "collate_fn": {"type": "kdlm.collate_tokens"}}
    train_loader = loader | {"sampler": {"type": "DefaultSampler", "shuffle": True}}
    return train_loader, loader | {"sampler": {"type": "DefaultSampler", "shuffle": False}}


def config(tmp_path, model, train_loader, val_loader, metric):
    content = {
        "model": model,
        "train_dataloader": train_loader,
        "val_dataloader": val_loader,
        "val_evaluator": {"type": metric},
        "val_cfg": {},
        "train_cfg": {"by_epoch": False, "max_iters": 3, "val_interval": 3},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 0.01}},
        "randomness": {"seed": 0},
        "work_dir": str(tmp_path / "run"),
    }
    file = tmp_path / "run.py"
    file.write_text("".join(f"{name} = {value!r}\n" for name, value in content.items()))
    return str(file)


LINES = ["Return the number of samples.", "Open a file.", "Close the file.", "Read a line, and return it."]


@pytest.mark.timeout(600)
def test_a_student_is_loaded_without_kdhub(tmp_path, text_file, tokenizer):
    """A student that needs its trainer is no product, and tied weights that come apart are another model."""
    net = {
        "type": "transformers.AutoModelForCausalLM.from_config",
        "config": {"type": "transformers.GPT2Config", **GPT2, **OURS},
    }
    both = loaders(text_file(LINES), tokenizer)
    cfg = load_config(config(tmp_path, {"type": "kdhub.TorchModel", "net": net}, *both, "kdlm.Perplexity"))
    result = train(cfg)
    assert result.metrics["perplexity"] > 1
    code = """
import sys, transformers
folder = sys.argv[1]
model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
tokens = transformers.AutoTokenizer.from_pretrained(folder)("Close the file.", return_tensors="pt")
assert model.lm_head.weight is model.transformer.wte.weight
assert not any(name.startswith(("kdhub", "kdlm", "mmengine")) for name in sys.modules)
print(model(**tokens, labels=tokens["input_ids"]).loss.item())
"""
    folder = str(tmp_path / "run" / "student")
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tokens = transformers.AutoTokenizer.from_pretrained(folder)("Close the file.", return_tensors="pt")
    here = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        wanted = float(here(**tokens, labels=tokens["input_ids"]).loss)
    assert float(done.stdout) == pytest.approx(wanted, abs=1e-5)


def test_students_of_others_are_left_to_others(tmp_path):
    """A net of timm with a tokenizer in its data's metainfo is none of ours."""
    assert export_student(torch.nn.Linear(2, 2), tmp_path, {"tokenizer": "x"}) is None
    assert export_student(gpt2(), tmp_path, {}) is None


def test_lora_trains_little_is_tapped_and_exported_merged(tmp_path, text_file, tokenizer):
    """A student whose additions are lost at export is the untrained net; one that needs peft is no plain student."""
    model = {
        "type": "kdhub.Distiller",
        "student": {
            "type": "kdhub.TorchModel",
            "net": {
                "type": "kdlm.lora",
                "net": {"type": "transformers.AutoModelForCausalLM.from_config", "config": {"type": "transformers.GPT2Config", **GPT2, **OURS}},
                "target_modules": ["c_attn"],
                "rank": 2,
            },
        },
        "teacher": {"type": "kdhub.ModelTeacher", "own_weights": True, "batch": "student", "model": {"type": "kdhub.TorchModel", "net": {"type": "transformers.AutoModelForCausalLM.from_config", "config": {"type": "transformers.GPT2Config", **GPT2, **OURS}}}},
        "objectives": {
            "attention": {
                "loss": {"type": "kdhub.MSE", "axis": -1},
                "student": "transformer.h.1.attn.c_attn",
                "teacher": "transformer.h.1.attn.c_attn",
                "batch": {"mask": "inputs.attention_mask"},
            },
            "added": {
                "loss": {"type": "kdhub.MSE", "axis": -1},
                "student": "transformer.h.0.attn.c_attn.lora_B.default",
                "teacher": "transformer.h.0.attn.c_attn",
                "batch": {"mask": "inputs.attention_mask"},
            },
            "states": {
                "loss": {"type": "kdhub.MSE", "axis": -1},
                "student": {"type": "kdlm.HiddenStates", "key": 1},
                "teacher": {"type": "kdlm.HiddenStates", "key": 1},
                "batch": {"mask": "inputs.attention_mask"},
            },
        },
    }  # fmt: skip
    both = loaders(text_file(LINES), tokenizer)
    result = train(load_config(config(tmp_path, model, *both, "kdlm.Perplexity")))
    folder = tmp_path / "run" / "student"
    assert not list(folder.glob("adapter*"))
    saved = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    metric = _perplexity(TorchModel(saved), both[1]["dataset"])
    assert metric == pytest.approx(result.metrics["perplexity"], rel=1e-4)


def _perplexity(model, dataset):
    from kdlm.data.collate import collate_tokens
    from kdlm.data.files import TextLines
    from kdlm.metrics import Perplexity

    data = TextLines(**{key: value for key, value in dataset.items() if key != "type"})
    metric = Perplexity()
    with torch.no_grad():
        batch = collate_tokens([data[index] for index in range(len(data))])
        metric.process(batch, model(**model.data_preprocessor(batch), mode="predict"))
    return metric.evaluate(len(data))["perplexity"]


def test_only_the_additions_have_gradients():
    """LoRA that trains the whole net costs all that it is to save."""
    net = lora(gpt2(), ["c_attn"], rank=2)
    training = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    assert len(training) == 4
    assert all("lora_" in name for name in training)
    with pytest.raises(UsageError, match="target_modules"):
        lora(gpt2(), ["no_such_module"])


@pytest.fixture
def pairs(table, tmp_path):
    """A tokenizer that makes token_type_ids, and pairs of texts with labels."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "b", "c", "d"]
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(tmp_path / "words")
    rows = [{"first": "a b", "second": "c", "label": "same"}, {"first": "d", "second": "a b c", "label": "other"}] * 2
    return table(rows), str(tmp_path / "words")


def test_token_types_reach_the_teacher_alone(tmp_path, pairs):
    """DistilBERT has no token types; a teacher without them reads both texts of a pair as one."""
    path, tokenizer = pairs
    student = {"vocab_size": 8, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
    net = "transformers.AutoModelForSequenceClassification.from_config"
    model = {
        "type": "kdhub.Distiller",
        "student": {"type": "kdhub.TorchModel", "net": {"type": net, "config": {"type": "transformers.DistilBertConfig", **student}}},
        "teacher": {"type": "kdhub.ModelTeacher", "own_weights": True, "model": {"type": "kdhub.TorchModel", "net": {"type": net, "config": {"type": "transformers.BertConfig", **BERT}}}},
        "objectives": {
            "types": {
                "loss": {"type": "kdhub.MSE", "axis": -1},
                "student": "distilbert.embeddings.LayerNorm",
                "teacher": "bert.embeddings.token_type_embeddings",
            }
        },
    }  # fmt: skip
    options = {"type": "kdlm.TextTable", "text": "first", "pair": "second", "label": "label"}
    both = loaders(path, tokenizer, **options)
    result = train(load_config(config(tmp_path, model, *both, "kdlm.ClassificationFigures")))
    assert set(result.metrics) >= {"top1", "f1_macro", "mcc"}
    from kdlm.data.collate import collate_tokens
    from kdlm.data.files import TextTable

    data = TextTable(path, tokenizer, text="first", pair="second", label="label")
    batch = collate_tokens([data[0], data[1]])
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1, 1]]
    seen = [
        TorchModel(transformers.AutoModelForSequenceClassification.from_config(own)).data_preprocessor(batch)["inputs"]
        for own in (transformers.DistilBertConfig(**student), transformers.BertConfig(**BERT))
    ]
    assert ["token_type_ids" in inputs for inputs in seen] == [False, True]
    saved = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "student")
    assert saved.config.model_type == "distilbert"


def test_figures_of_a_classifier_by_hand():
    """Three of four right with one class rare: accuracy hides what F1 and the correlation show."""
    from kdlm.metrics import ClassificationFigures

    metric = ClassificationFigures()
    rows = [([1.0, 0], 0), ([1.0, 0], 0), ([1.0, 0], 0), ([1.0, 0], 1)]
    metric.process({}, [{"pred_score": torch.tensor(scores), "gt_label": label} for scores, label in rows])
    found = metric.evaluate(4)
    assert found["top1"] == pytest.approx(75.0)
    assert found["f1_macro"] == pytest.approx(100 * (2 * 0.75 / 1.75 + 0) / 2)
    assert found["mcc"] == pytest.approx(0.0)


SHORT = {"train_cfg.max_epochs": 1, "train_dataloader.batch_size": 2}
NET = {f"config.{key}": value for key, value in GPT2.items()}


@pytest.mark.timeout(600)
def test_the_student_recipe_runs_all_its_stages(tmp_path):
    """One command must find text, tokenizer and teacher in the folders of its stages, and save the student with its tokenizer."""
    teacher = {f"teacher:model.net.{key}": value for key, value in NET.items()}
    teacher |= {f"teacher:{key}": value for key, value in SHORT.items()}
    own = {f"model.student.net.{key}": value for key, value in NET.items()}
    tokens = {"teacher:tokens:job.size": 300, "teacher:tokens:text:job.validation": 4}
    tokens |= {"teacher:tokens:text:job.shortest": 390}  # few paragraphs are so long
    cfg = load_config("kdlm:docstrings-student", {**own, **teacher, **tokens, **SHORT})
    cfg.work_dir = str(tmp_path / "run")
    assert train(cfg).metrics["perplexity"] > 1
    assert (tmp_path / "run" / "student" / "tokenizer.json").is_file()
