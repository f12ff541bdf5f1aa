"""`SentenceEncoder`: what can be tapped, what trains, and what a wrong config says."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from kdhub.errors import UsageError
from kdret.data.collate import collate_texts
from kdret.encoder import SentenceEncoder

PAIRS = [
    {"texts": {"query": "read file", "document": "open close csv"}},
    {"texts": {"query": "sort list", "document": "tree graph image sound"}},
]
LISTS = [
    {"texts": {"query": "read file", "document": ["open csv", "tree graph"]}, "labels": [0.9, 0.1]},
    {"texts": {"query": "sort list", "document": ["sort search", "sound text"]}, "labels": [0.8, 0.3]},
]


def run(model, samples, mode="tensor"):
    return model._run_forward(model.data_preprocessor(collate_texts(samples), mode == "loss"), mode=mode)


def test_embeds_as_sentence_transformers_does(tiny_encoder):
    """A teacher that encodes otherwise than its library would teach something else."""
    model = SentenceEncoder(tiny_encoder).eval()
    expected = SentenceTransformer(tiny_encoder, device="cpu").encode(
        ["read file", "sort list"], convert_to_tensor=True
    )
    torch.testing.assert_close(run(model, PAIRS)["query"], expected)


def test_prompts_go_to_the_column_of_their_name(tiny_encoder):
    """Models such as E5 rank badly without their prompts, and nothing fails."""
    model = SentenceEncoder(tiny_encoder).eval()
    model.encoder.prompts = {"query": "search ", "document": ""}
    plain = SentenceTransformer(tiny_encoder, device="cpu")
    expected = plain.encode(["search read file", "search sort list"], convert_to_tensor=True)
    torch.testing.assert_close(run(model, PAIRS)["query"], expected)


def test_taps_are_called_once_a_column(tiny_encoder, monkeypatch):
    """`call='cat'` and a plain 'score' count on it."""
    calls = {"embed": [], "score": [], "similarity": []}
    for name, kept in calls.items():
        original = getattr(SentenceEncoder, name)
        monkeypatch.setattr(SentenceEncoder, name, lambda self, *a, o=original, k=kept: k.append(o(self, *a)) or k[-1])
    assert run(SentenceEncoder(tiny_encoder), LISTS, "loss") == {}
    assert [tuple(value.shape) for value in calls["embed"]] == [(2, 32), (4, 32)]
    assert [tuple(value.shape) for value in calls["score"]] == [(2, 2)]
    assert [tuple(value.shape) for value in calls["similarity"]] == [(2, 4)]
    query, document = calls["embed"]
    own = torch.stack([query[0] @ document[:2].T, query[1] @ document[2:].T])
    torch.testing.assert_close(calls["score"][0], own)
    torch.testing.assert_close(calls["similarity"][0], query @ document.T)


def test_score_scale_and_uneven_lists(tiny_encoder):
    """Documents are shared out by position: a remainder would shift every list."""
    model = SentenceEncoder(tiny_encoder, score_scale=20.0)
    query, document = torch.eye(3, 4)[:2], torch.eye(4)[:2]
    assert model.score(query, document).tolist() == [[20.0], [20.0]]
    with pytest.raises(UsageError, match=r"a multiple of 2 documents, got 3"):
        model.score(query, torch.eye(4)[:3])


def test_scores_are_float32_under_autocast(tiny_encoder):
    """Around 1 bfloat16 has steps of 0.008: most margins between good documents are smaller."""
    model = SentenceEncoder(tiny_encoder)
    generator = torch.Generator().manual_seed(0)
    query, document = torch.randn(2, 3, 8, generator=generator)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.similarity(query, document), query @ document.T) is False
        scores = model.similarity(query, document)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, query @ document.T)


def test_predictions_come_in_the_order_of_the_keys(tiny_encoder):
    """Distributed evaluation drops padding by position; another order would drop a document."""
    model = SentenceEncoder(tiny_encoder).eval()
    texts = [("document", "d1", "open csv"), ("query", "q1", "read file"), ("document", "d2", "tree graph")]
    samples = [{"texts": {column: text}, "key": (column, key)} for column, key, text in texts]
    found = model.val_step(collate_texts(samples))
    assert all(entry["seconds"] > 0 for entry in (*found, *model.test_step(collate_texts(samples))))
    assert [(entry["column"], entry["id"]) for entry in found] == [(column, key) for column, key, _ in texts]
    alone = SentenceTransformer(tiny_encoder, device="cpu").encode([t for *_, t in texts], convert_to_tensor=True)
    torch.testing.assert_close(torch.stack([entry["embedding"] for entry in found]), alone)


def test_labels_reach_the_batch(tiny_encoder):
    """Objectives read cached scores from the student's batch."""
    batch = SentenceEncoder(tiny_encoder).data_preprocessor(collate_texts(LISTS), True)
    assert batch["labels"].tolist() == [pytest.approx([0.9, 0.1]), pytest.approx([0.8, 0.3])]


def test_in_batch_loss_equals_sentence_transformers(tiny_encoder):
    """The supervised baseline must be the one that people know."""
    model = SentenceEncoder(tiny_encoder, task_loss="in-batch").eval()
    embeddings = run(model, LISTS)
    query, document = embeddings["query"], embeddings["document"]
    expected = MultipleNegativesRankingLoss(None).compute_loss_from_embeddings(
        [query, document[::2], document[1::2]], None
    )
    torch.testing.assert_close(run(model, LISTS, "loss")["loss_in_batch"], expected)
    with pytest.raises(UsageError, match="columns 'query' and 'document', got text"):
        run(model, [{"texts": {"text": "read"}}], "loss")


def test_gathered_task_loss_of_one_process_is_the_plain_one(tiny_encoder):
    """The option must not change the loss where there is nothing to gather, nor forget the scale."""
    plain = SentenceEncoder(tiny_encoder, task_loss="in-batch", score_scale=3.0).eval()
    gathering = SentenceEncoder(tiny_encoder, task_loss="in-batch", score_scale=3.0, gather=True).eval()
    expected = run(plain, LISTS, "loss")["loss_in_batch"]
    torch.testing.assert_close(run(gathering, LISTS, "loss")["loss_in_batch"], expected)


def test_trains_alone_with_every_trainable_parameter_in_use(tiny_encoder):
    """A parameter that never gets a gradient makes distributed training wait for ever."""
    model = SentenceEncoder(tiny_encoder, layers=[0, 3], task_loss="in-batch")
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    before = run(model.eval(), LISTS)["query"]
    model.train()
    losses = run(model, LISTS, "loss")
    losses["loss_in_batch"].backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    model.train_step(collate_texts(LISTS), optimizer)
    assert not torch.equal(run(model.eval(), LISTS)["query"], before)


def test_freeze_and_dropout(tiny_encoder):
    """What is frozen stays, and without dropout the target is met by the same function that is saved."""
    model = SentenceEncoder(
        tiny_encoder, freeze=["embeddings.word_embeddings"], dropout=0.0, task_loss="in-batch"
    ).train()
    words = model.encoder[0].auto_model.embeddings.word_embeddings.weight
    assert not words.requires_grad
    assert torch.equal(run(model, LISTS)["query"], run(model, LISTS)["query"])
    noisy = SentenceEncoder(tiny_encoder).train()
    assert not torch.equal(run(noisy, LISTS)["query"], run(noisy, LISTS)["query"])


def test_kept_layers_survive_saving(tiny_encoder, tmp_path):
    """A config that still says 4 layers would load 2 trained and 2 random ones."""
    model = SentenceEncoder(tiny_encoder, layers=[0, 3], max_length=7).eval()
    full = SentenceTransformer(tiny_encoder, device="cpu")[0].auto_model.encoder.layer
    kept = model.encoder[0].auto_model.encoder.layer
    assert torch.equal(kept[1].attention.self.query.weight, full[3].attention.self.query.weight)
    model.encoder.save(str(tmp_path), create_model_card=False)
    again = SentenceTransformer(str(tmp_path), device="cpu")
    assert again.max_seq_length == 7
    torch.testing.assert_close(
        again.encode(["read file", "sort list"], convert_to_tensor=True), run(model, PAIRS)["query"]
    )


def tiny_config(architecture):
    import transformers as t

    size = {
        "vocab_size": 30,
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 3,
        "intermediate_size": 16,
    }
    return {
        "DistilBertModel": lambda: t.DistilBertConfig(vocab_size=30, dim=16, n_heads=2, n_layers=3, hidden_dim=16),
        "MPNetModel": lambda: t.MPNetConfig(**size),
        "ModernBertModel": lambda: t.ModernBertConfig(**size, pad_token_id=0, global_attn_every_n_layers=2),
        "AlbertModel": lambda: t.AlbertConfig(**size, embedding_size=8),
    }[architecture]()


def around(architecture, tmp_path, tiny_encoder):
    """Wrap a random transformer of another architecture with the tiny tokenizer."""
    import transformers
    from sentence_transformers.sentence_transformer import modules

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = getattr(transformers, architecture)(tiny_config(architecture))
    transformer.save_pretrained(tmp_path / architecture)
    transformers.AutoTokenizer.from_pretrained(tiny_encoder).save_pretrained(tmp_path / architecture)
    first = modules.Transformer(str(tmp_path / architecture), max_seq_length=32)
    SentenceTransformer(modules=[first, modules.Pooling(16)], device="cpu").save(
        str(tmp_path / "st"), create_model_card=False
    )
    return str(tmp_path / "st")


@pytest.mark.parametrize("architecture", ["DistilBertModel", "MPNetModel", "ModernBertModel"])
def test_layers_of_other_architectures(architecture, tmp_path, tiny_encoder):
    """Each family keeps its layers elsewhere; what was kept must load again and compute the same."""
    model = SentenceEncoder(around(architecture, tmp_path, tiny_encoder), layers=[0, 2]).eval()
    model.encoder.save(str(tmp_path / "student"), create_model_card=False)
    again = SentenceEncoder(str(tmp_path / "student")).eval()
    torch.testing.assert_close(run(again, PAIRS)["query"], run(model, PAIRS)["query"])


def test_shared_layers_cannot_be_kept(tmp_path, tiny_encoder):
    """ALBERT has one set of weights for all layers: there is nothing to choose from."""
    with pytest.raises(UsageError, match=r"cannot tell the layers of AlbertModel .*one ModuleList of 3 layers"):
        SentenceEncoder(around("AlbertModel", tmp_path, tiny_encoder), layers=[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": [0, 4]}, r"ascending positions from 0 to 3, got \[0, 4\]"),
        ({"layers": [2, 1]}, r"ascending positions"),
        ({"layers": []}, r"ascending positions"),
        ({"freeze": ["embeddings.word_embedding"]}, r"did you mean 'embeddings\.word_embeddings'"),
        ({"dropout": 1.0}, r"from 0 to below 1"),
        ({"task_loss": "contrastive"}, r"None or 'in-batch'"),
        ({"layers": [0, "3"]}, r"bad layers"),
        ({"dropout": "0.1"}, r"bad dropout"),
        ({"dropout": float("nan")}, r"bad dropout"),
        ({"max_length": 0}, r"bad max_length .*from 1, or None, got 0"),
        ({"score_scale": 0.0}, r"bad score_scale .*above 0"),
        ({"score_scale": float("inf")}, r"bad score_scale"),
        ({"gather": True}, r"gather=True without task_loss does nothing"),
    ],
)
def test_bad_arguments(tiny_encoder, arguments, message):
    """One line that says what would have been right."""
    with pytest.raises(UsageError, match=message):
        SentenceEncoder(tiny_encoder, **arguments)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "package://kdhub_no_such_package/model",
            r"'kdhub_no_such_package' is not installed.*pip install kdhub-no-such-package",
        ),
        ("package://kdret/dat", r"has no folder 'dat'.*did you mean 'data'"),
        ("./no/such/model", r"no model folder '\./no/such/model'"),
        ("no-owner/no-such-model", r"cannot load the sentence encoder 'no-owner/no-such-model'"),
    ],
)
def test_a_model_that_is_not_there(model, message):
    """Missing package data and an unreachable hub are the user's to mend, so one line each."""
    with pytest.raises(UsageError, match=message) as caught:
        SentenceEncoder(model)
    assert "\n" not in str(caught.value)


def test_a_near_miss_of_a_folder_is_proposed(tiny_encoder):
    """A typing error in a path."""
    with pytest.raises(UsageError, match="did you mean 'model'"):
        SentenceEncoder(tiny_encoder.replace("/model", "/modell"))


def test_a_truncated_weight_file_is_one_line(tiny_encoder, tmp_path):
    """An interrupted copy of the weights must be named in one line, not as a traceback of a library."""
    import shutil

    shutil.copytree(tiny_encoder, tmp_path / "cut")
    weights = tmp_path / "cut/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UsageError, match=r"cannot load the sentence encoder .*-> copy the model again") as caught:
        SentenceEncoder(str(tmp_path / "cut"))
    assert "\n" not in str(caught.value)


def test_a_batch_of_something_else(tiny_encoder):
    """Forgetting the collate function is easy: mmengine's default makes tuples."""
    with pytest.raises(UsageError, match=r"without texts .*got inputs\) -> set collate_fn"):
        SentenceEncoder(tiny_encoder).data_preprocessor({"inputs": []})


def test_minilm_keeps_two_of_six_layers(minilm):
    """The demo's student: 22.7 M parameters become 15.6 M."""
    model = SentenceEncoder(minilm, layers=[0, 5])
    assert sum(p.numel() for p in SentenceEncoder(minilm).parameters()) == 22_713_216
    assert sum(p.numel() for p in model.parameters()) == 15_615_360
