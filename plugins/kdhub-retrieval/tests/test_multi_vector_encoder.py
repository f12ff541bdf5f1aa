"""`MultiVectorEncoder`: MaxSim scores, what can be tapped, and what is refused."""

import pytest
import sentence_transformers
import torch
from hypothesis import given, settings, strategies as st

from kdhub.api import MethodOutput
from kdhub.errors import UsageError
from kdret import multi_vector_encoder
from kdret.data.collate import collate_texts
from kdret.export import export_student
from kdret.metric import IRMetric
from kdret.multi_vector_encoder import MultiVectorEncoder, TokenVectors

LISTS = [
    {"texts": {"query": "read file", "document": ["open csv number", "tree graph image"]}, "labels": [0.9, 0.1]},
    {"texts": {"query": "sort list text", "document": ["sort search", "sound"]}, "labels": [0.8, 0.3]},
]


def run(model, samples, mode="tensor"):
    return model._run_forward(model.data_preprocessor(collate_texts(samples), mode == "loss"), mode=mode)


def by_hand(query, document):
    """MaxSim over the tokens that count, one at a time."""
    return sum(max(float(q @ d) for d in document) for q in query)


@pytest.fixture
def model(tiny_multi):
    return MultiVectorEncoder(tiny_multi).eval()


def test_a_forgotten_mask_is_seen(model):
    """Margin card item 7: 2.0 + 0.5; with the masked position it would be 11."""
    query = TokenVectors(torch.eye(2)[None], torch.ones(1, 2, dtype=torch.bool))
    document = TokenVectors(torch.tensor([[[0.5, 0.5], [2.0, 0.0], [0.0, 9.0]]]), torch.tensor([[True, True, False]]))
    assert model.score(query, document).tolist() == [[2.5]]
    assert model.similarity(query, document).tolist() == [[2.5]]
    model.encoder.similarity_fn_name = "meanmaxsim"
    assert model.score(query, document).tolist() == [[1.25]]


def test_a_query_s_padding_adds_nothing(model):
    """Short queries in a batch with long ones would score by the length of the batch."""
    tokens = torch.tensor([[[1.0, 0.0], [5.0, 5.0]]])
    query, document = TokenVectors(tokens, torch.tensor([[True, False]])), TokenVectors(tokens, torch.ones(1, 2) > 0)
    assert model.score(query, document).tolist() == [[5.0]]


@given(seed=st.integers(0, 10_000), documents=st.integers(1, 3))
@settings(deadline=None, max_examples=15)
def test_score_is_the_own_part_of_similarity(tiny_multi_once, seed, documents):
    """Lists shifted against their queries would teach each query the scores of another's."""
    generator = torch.Generator().manual_seed(seed)
    sides = []
    for rows, length in ((2, 3), (2 * documents, 4)):
        mask = torch.rand(rows, length, generator=generator) < 0.6
        mask[:, 0] = True
        sides.append(TokenVectors(torch.randn(rows, length, 5, generator=generator), mask))
    query, document = sides
    score, similarity = tiny_multi_once.score(query, document), tiny_multi_once.similarity(query, document)
    for row in range(2):
        own = slice(row * documents, (row + 1) * documents)
        torch.testing.assert_close(score[row], similarity[row, own])
        hand = [by_hand(query[0][row][query[1][row]], document[0][n][document[1][n]]) for n in range(2 * documents)]
        torch.testing.assert_close(similarity[row], torch.tensor(hand))


@pytest.fixture(scope="module")
def tiny_multi_once(tiny_multi):
    return MultiVectorEncoder(tiny_multi).eval()


def test_encodes_as_its_library_does(model, tiny_multi):
    """Queries and documents differ in length and skiplist; a tower that takes the other's is quietly worse."""
    library = sentence_transformers.MultiVectorEncoder(tiny_multi, device="cpu")
    embeddings = run(model, LISTS)
    for column, texts, encode in (
        ("query", ["read file", "sort list text"], library.encode_query),
        ("document", ["open csv number", "tree graph image", "sort search", "sound"], library.encode_document),
    ):
        for ours, theirs in zip(model.rows(embeddings[column]), encode(texts, convert_to_numpy=False), strict=True):
            torch.testing.assert_close(ours, theirs)
    assert embeddings["document"].mask.sum(1).tolist() == [4, 5, 4, 3]  # [CLS], [SEP] and all words but 'number'
    scores = library.similarity(library.encode_query(["read file"]), library.encode_document(["open csv number"]))
    torch.testing.assert_close(model.score(*embeddings.values())[:1, :1], scores)


def test_nothing_is_compared_for_nobody(model, monkeypatch):
    """All pairs of tokens of a batch fill the memory of a device, and most objectives read the own lists alone."""
    calls = []
    for name in ("maxsim", "colbert_kd_scores"):
        original = getattr(multi_vector_encoder, name)
        monkeypatch.setattr(
            multi_vector_encoder, name, lambda *a, n=name, o=original, **k: calls.append(n) or o(*a, **k)
        )
    run(model, LISTS)
    assert calls == []
    for path, called, shape in (("score", "colbert_kd_scores", (2, 2)), ("similarity", "maxsim", (2, 4))):
        tap = MethodOutput(path)
        detach = tap.attach(model)
        run(model, LISTS)
        detach()
        assert tap.read().shape == shape
        assert calls.pop() == called
        assert not calls


def test_every_trainable_parameter_is_in_use(tiny_multi):
    """A parameter that never gets a gradient makes distributed training wait for ever."""
    model = MultiVectorEncoder(tiny_multi, layers=[0, 3], task_loss="in-batch").train()
    run(model, LISTS, "loss")["loss_in_batch"].backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_evaluation_ranks_by_late_interaction(model):
    """The metric must rank as the scores that were trained do."""
    texts = {"query": {"q": "read file"}, "document": {"a": "tree", "b": "read file", "c": "image sound"}}
    samples = [
        {"texts": {column: text}, "key": (column, key)} for column, own in texts.items() for key, text in own.items()
    ]
    metric = IRMetric(["MRR@10"])
    scores = model.similarity(*run(model, [{"texts": {c: list(own.values())}} for c, own in texts.items()]).values())
    best = list(texts["document"])[scores[0].argmax()]
    metric.dataset_meta = {"qrels": {"q": {best: 1}}, "n_queries": 1, "n_documents": 3}
    metric.process(None, model.val_step(collate_texts(samples)))
    assert metric.evaluate(4) == {"retrieval/MRR@10": 1.0}


def test_constant_or_broken_token_vectors_are_not_measured():
    """NaN sorts anywhere, and a constant encoder ranks by the order of ids."""
    for vectors, message in (
        (dict.fromkeys("ab", torch.ones(2, 3)), "same score for every query"),
        ({"a": torch.ones(2, 3), "b": torch.full((2, 3), torch.nan)}, r"token vector \d is not finite"),
    ):
        metric = IRMetric(["MRR@10"])
        metric.dataset_meta = {"qrels": {"q": {"a": 1}}, "n_queries": 1, "n_documents": 2}
        samples = [{"column": "document", "id": key, "embedding": value} for key, value in vectors.items()]
        metric.process(None, [{"column": "query", "id": "q", "embedding": torch.ones(1, 3)}, *samples])
        with pytest.raises(UsageError, match=message):
            metric.evaluate(3)


def test_the_exported_student_is_a_multi_vector_encoder(tiny_multi, tmp_path):
    """What a user takes away must give the very vectors that were trained, with the library alone."""
    model = MultiVectorEncoder(tiny_multi, layers=[0, 3], max_length=5).eval()
    assert export_student(model, tmp_path) == "sentence_transformers.MultiVectorEncoder('student')"
    again = sentence_transformers.MultiVectorEncoder(str(tmp_path), device="cpu")
    texts = ["open csv sort list tree", "tree graph image sound"]
    found = again.encode_document(texts, convert_to_numpy=False)
    assert [len(one) for one in found] == [5, 5]
    ours = model.rows(run(model, [{"texts": {"document": texts}}])["document"])
    assert all(torch.equal(one, two) for one, two in zip(found, ours, strict=True))


def test_a_text_without_a_token_that_counts(model):
    """The library scores such a document with -1e9, and a margin to it ends every other lesson of the batch."""
    model.encoder[2].skiplist_words = ["[CLS]", "[SEP]", "number"]
    model.encoder[2].resolve_with_tokenizer(model.encoder.tokenizer)
    samples = [{"texts": {"query": "read file", "document": ["open csv", "number"]}}]
    with pytest.raises(UsageError, match=r"text 1 of a column has no token that counts.*skiplist"):
        run(model, samples)


def test_an_uneven_list_of_token_vectors(model):
    """Documents are shared out by position: a remainder would shift every list."""
    tokens = TokenVectors(torch.ones(3, 1, 2), torch.ones(3, 1) > 0)
    with pytest.raises(UsageError, match="a multiple of 2 documents, got 3"):
        model.score(TokenVectors(tokens.vectors[:2], tokens.mask[:2]), tokens)
