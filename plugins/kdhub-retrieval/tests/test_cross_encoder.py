"""`CrossEncoder`: scores of lists, and what is refused."""

import pytest
import sentence_transformers
import torch

from kdhub.errors import UsageError
from kdret.cross_encoder import CrossEncoder
from kdret.data.collate import collate_texts
from kdret.export import export_student

LISTS = [
    {"texts": {"query": "read file", "document": ["open csv", "tree graph", "list"]}, "labels": [0.9, 0.1, 0.0]},
    {"texts": {"query": "sort list", "document": ["sort search", "sound text", "read"]}, "labels": [0.8, 0.3, 0.1]},
]
PAIRS = [(sample["texts"]["query"], document) for sample in LISTS for document in sample["texts"]["document"]]


def run(model, samples, mode="tensor"):
    return model._run_forward(model.data_preprocessor(collate_texts(samples), mode == "loss"), mode=mode)


def test_scores_are_the_library_s_logits_list_by_list(tiny_cross):
    """A list shifted by one document, or a sigmoid that flattens margins, teaches without a word."""
    library = sentence_transformers.CrossEncoder(tiny_cross, device="cpu")
    logits = library.predict(PAIRS, activation_fn=torch.nn.Identity(), convert_to_tensor=True)
    assert logits.std() > 1e-3, "scores that are alike would let every test pass"
    model = CrossEncoder(tiny_cross, score_scale=2.0).eval()
    torch.testing.assert_close(run(model, LISTS)["score"], 2 * logits.unflatten(0, (2, 3)))


def test_the_score_can_be_tapped_and_trains_every_parameter(tiny_cross):
    """A parameter that never gets a gradient makes distributed training wait for ever."""
    model = CrossEncoder(tiny_cross, layers=[0, 3]).train()
    assert run(model, LISTS, "loss") == {}
    run(model, LISTS)["score"].square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_the_exported_student_is_a_cross_encoder(tiny_cross, tmp_path):
    """What a user takes away must give the very scores that were trained, with the library alone."""
    model = CrossEncoder(tiny_cross, layers=[0, 3], max_length=6).eval()
    assert export_student(model, tmp_path) == "sentence_transformers.CrossEncoder('student')"
    again = sentence_transformers.CrossEncoder(str(tmp_path), device="cpu")
    assert again.max_seq_length == 6
    scores = again.predict(PAIRS, activation_fn=torch.nn.Identity(), convert_to_tensor=True)
    torch.testing.assert_close(scores.unflatten(0, (2, 3)), run(model, LISTS)["score"])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([{"texts": {"text": "read"}}], r"query and a document together .*got text"),
        (
            [{"texts": {"query": "read"}, "key": ("query", "q")}],
            r"cannot rank a split.*default_hooks\.baseline\.teacher",
        ),
        ([{"texts": {"query": ["a", "b"], "document": ["c"] * 3}}], r"multiple of 2 documents, got 3"),
    ],
)
def test_batches_without_pairs_are_refused(tiny_cross, samples, message):
    """A split's batch holds queries and documents too, and pairing them by position would rank nonsense."""
    model = CrossEncoder(tiny_cross)
    with pytest.raises(UsageError, match=message):
        model.data_preprocessor(collate_texts(samples))


def test_a_batch_of_something_else_for_a_cross_encoder(tiny_cross):
    """The message must name the component that the config names."""
    with pytest.raises(UsageError, match=r"CrossEncoder got a batch without texts"):
        CrossEncoder(tiny_cross).data_preprocessor({"inputs": []})


def test_a_classifier_is_no_reranker(tiny_cross, tmp_path):
    """Of three classes the first would be taken for relevance."""
    model = sentence_transformers.CrossEncoder(
        tiny_cross, device="cpu", num_labels=3, model_kwargs={"ignore_mismatched_sizes": True}
    )
    model.save(str(tmp_path), create_model_card=False)
    with pytest.raises(UsageError, match=r"expected a model with 1 label, got 3 labels"):
        CrossEncoder(str(tmp_path))
