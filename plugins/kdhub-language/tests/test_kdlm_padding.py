"""Padding: no loss and no score may hear of it."""

import pytest
import torch
import transformers
from hypothesis import given, settings, strategies as st

from kdhub import UsageError
from kdhub.api import TemperatureKL, TorchModel
from kdlm.data.collate import collate_tokens
from kdlm.data.texts import Texts
from kdlm.losses.next_token import NextToken
from kdlm.metrics import Perplexity

TEXTS = ["Read a line.", "Close.", "Return the number of samples, or stop."]


def gpt2(seed=0, layers=2):
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=300,
        n_embd=16,
        n_layer=layers,
        n_head=2,
        n_positions=100,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
    )
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def batch_of(tokenizer, labels=None, **options):
    data = Texts(TEXTS, tokenizer, labels, ["a", "b"] if labels else ())
    return collate_tokens([data[index] for index in range(len(data))], **options)


def loss_of(model, batch):
    with torch.no_grad():
        return float(model(**model.data_preprocessor(batch, True), mode="loss")["loss_task"])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("reduction", [None, "positions", "samples"])
def test_padding_changes_no_loss_of_a_language_model(tokenizer, side, reduction):
    """A loss that hears padding depends on what else is in the batch, and a text shifted by it is another text."""
    criterion = None if reduction is None else {"type": "kdlm.NextToken", "reduction": reduction}
    model = TorchModel(gpt2(), criterion=criterion)
    losses = [loss_of(model, batch_of(tokenizer, padding_side=side, pad_to=length)) for length in (None, 37, 70)]
    losses.append(loss_of(model, batch_of(tokenizer)))
    assert losses == pytest.approx([losses[0]] * 4, abs=1e-5)


@pytest.mark.parametrize(("kind", "side"), [("GPT2", "left"), ("GPT2", "right"), ("Bert", "right")])
def test_padding_changes_no_score_of_a_classifier(tokenizer, side, kind):
    """A decoder that reads its answer at a pad token answers for no text."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 300, "num_labels": 2, "pad_token_id": 0}
    if kind == "GPT2":
        config = transformers.GPT2Config(
            n_embd=16, n_layer=2, n_head=2, n_positions=100, bos_token_id=0, eos_token_id=0, **sizes
        )
    else:
        config = transformers.BertConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, **sizes
        )
    net = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    model = TorchModel(net)
    with torch.no_grad():
        scores = [
            model(**model.data_preprocessor(batch_of(tokenizer, [0, 1, 0], padding_side=side, pad_to=length)))
            for length in (None, 70)
        ]
    torch.testing.assert_close(scores[0], scores[1], atol=1e-5, rtol=1e-5)


def test_padding_changes_no_distillation(tokenizer):
    """The mask of the batch must be that of the objective."""
    teacher, student = gpt2(1), gpt2(2)
    loss, values = TemperatureKL(class_axis=-1), []
    for options in ({}, {"pad_to": 70}, {"padding_side": "left"}):
        batch = batch_of(tokenizer, **options)
        inputs = {key: value for key, value in batch.items() if key != "labels"}
        with torch.no_grad():
            values.append(float(loss(student(**inputs).logits, teacher(**inputs).logits, batch["attention_mask"])))
    assert values == pytest.approx([values[0]] * 3, abs=1e-5)


def test_padding_can_be_a_label_as_it_was_published(tokenizer):
    """The released code of MLKD trains on it; who reproduces its figures needs the same."""
    batch = batch_of(tokenizer, pad_to=30, label_padding=True)
    assert (batch["labels"][batch["attention_mask"] == 0] == 0).all()
    usual = batch_of(tokenizer, pad_to=30)
    assert (usual["labels"][usual["attention_mask"] == 0] == -100).all()
    assert batch["input_ids"].shape == (3, 30)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(0, 20), st.sampled_from(["left", "right"]))
def test_every_token_stays_where_its_mask_is(lengths, pad_to, side):
    """A column padded on the other side than the rest belongs to other tokens."""
    samples = [
        {"input_ids": torch.arange(1, n + 1), "token_type_ids": torch.arange(n), "labels": 0, "pad": 99}
        for n in lengths
    ]
    batch = collate_tokens(samples, padding_side=side, pad_to=pad_to)
    mask = batch["attention_mask"].bool()
    assert mask.sum(1).tolist() == lengths
    assert (batch["input_ids"][~mask] == 99).all()
    for row, length in enumerate(lengths):
        assert batch["input_ids"][row][mask[row]].tolist() == list(range(1, length + 1))
        assert batch["token_type_ids"][row][mask[row]].tolist() == list(range(length))
        if side == "left":
            assert batch["position_ids"][row][mask[row]].tolist() == list(range(length))
    assert batch["labels"].tolist() == [0] * len(lengths)
    assert "pad" not in batch


def test_other_samples_are_refused():
    """Torch would stack them, and the model would fail far from the data."""
    with pytest.raises(UsageError, match="no pad"):
        collate_tokens([{"input_ids": torch.ones(3)}])
    with pytest.raises(UsageError, match="padding_side"):
        collate_tokens([{"input_ids": torch.ones(3), "pad": 0}], padding_side="both")


def test_accumulated_gradients_are_those_of_the_batch(tokenizer):
    """With ragged rows the mean over tokens of two halves is not that of the whole."""
    data = Texts([*TEXTS, "Open a file."], tokenizer)
    samples, gradients = [data[index] for index in range(4)], []
    for parts in ([samples], [samples[:2], samples[2:]]):
        model = TorchModel(gpt2(), criterion=NextToken("samples"))
        for part in parts:
            batch = model.data_preprocessor(collate_tokens(part), True)
            (model(**batch, mode="loss")["loss_task"] / len(parts)).backward()
        gradients.append(model.net.transformer.wte.weight.grad)
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


def test_perplexity_of_known_probabilities():
    """Hand value of the MLKD card: 0.5, 0.25 and 0.125 give a mean of 1.3862944 and a perplexity of 4."""
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.75, 0.25], [0.875, 0.125], [0.5, 0.5]]))
    metric = Perplexity()
    metric.process({}, [{"pred_score": logits, "gt_label": torch.tensor([-100, 0, 1, 1])}])
    found = metric.evaluate(1)
    assert found["nll"] == pytest.approx(1.3862944)
    assert found["perplexity"] == pytest.approx(4.0)


def test_perplexity_counts_tokens_not_texts(tokenizer):
    """A mean of means would let a short text weigh as much as a long one, and change with the batch."""
    model, batch = TorchModel(gpt2()), batch_of(tokenizer)
    metric = Perplexity()
    with torch.no_grad():
        predicted = model(**model.data_preprocessor(batch), mode="predict")
    metric.process(batch, predicted)
    assert metric.evaluate(3)["nll"] == pytest.approx(loss_of(model, batch), abs=1e-5)


def test_predictions_that_are_no_next_tokens_are_refused():
    """The logits of a classifier would give a perplexity that means nothing."""
    with pytest.raises(UsageError, match="language model"):
        Perplexity().process({}, [{"pred_score": torch.zeros(3), "gt_label": torch.tensor([1])}])
    with pytest.raises(UsageError, match="does not know"):
        Perplexity().process({}, [{"pred_score": torch.zeros(2, 3), "gt_label": torch.tensor([-100, 3])}])
    with pytest.raises(UsageError, match="does not know"):
        NextToken()(torch.zeros(1, 2, 3), torch.tensor([[0, 3]]))
    with pytest.raises(UsageError, match=r"\(B, L, V\)"):
        NextToken()(torch.zeros(2, 3), torch.tensor([0, 1]))


def test_next_token_is_the_models_own_loss(tokenizer):
    """Shifted once more or less, it would train a model that copies."""
    model, batch = gpt2(), batch_of(tokenizer)
    with torch.no_grad():
        result = model(**batch)
    assert float(NextToken()(result.logits, batch["labels"])) == pytest.approx(float(result.loss), abs=1e-6)
