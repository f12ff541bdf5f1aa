"""`SparseEncoder`: SPLADE's weights, what can be tapped, and what is refused."""

import pytest
import scipy.sparse
import sentence_transformers
import torch

from kdhub.errors import UsageError
from kdret.data.collate import collate_texts
from kdret.encoder import SentenceEncoder
from kdret.export import export_student
from kdret.loading import load_sentence_transformer
from kdret.sparse_encoder import SparseEncoder

LISTS = [
    {"texts": {"query": "read file", "document": ["open csv", "tree graph"]}, "labels": [0.9, 0.1]},
    {"texts": {"query": "sort list", "document": ["sort search", "sound text"]}, "labels": [0.8, 0.3]},
]


def run(model, samples, mode="tensor"):
    return model._run_forward(model.data_preprocessor(collate_texts(samples), mode == "loss"), mode=mode)


def test_weights_by_hand(tiny_sparse):
    """Lists card item 3: max over real tokens of log(1 + ReLU(logit)); a sum, or padding, gives other weights that train too."""
    model = SparseEncoder(tiny_sparse).eval()
    pooling = model.encoder[1]
    logits = torch.tensor([[[1.0, -2.0, 0.0], [0.5, 3.0, -1.0]]])
    for mask, expected in (([[1, 1]], [0.6931472, 1.3862944, 0.0]), ([[1, 0]], [0.6931472, 0.0, 0.0])):
        found = pooling({"token_embeddings": logits.clone(), "attention_mask": torch.tensor(mask)})
        torch.testing.assert_close(found["sentence_embedding"], torch.tensor([expected]))


def test_embeds_as_its_library_does(tiny_sparse):
    """A teacher that encodes otherwise than its library would teach something else."""
    model = SparseEncoder(tiny_sparse).eval()
    library = sentence_transformers.SparseEncoder(tiny_sparse, device="cpu")
    expected = library.encode(["read file", "sort list"], convert_to_sparse_tensor=False)
    assert torch.equal(run(model, LISTS)["query"], expected)


def test_scores_are_dot_products(tiny_sparse):
    """A list shifted by one document would teach each query the scores of another's."""
    model = SparseEncoder(tiny_sparse, score_scale=2.0).eval()
    embeddings = run(model, LISTS)
    query, document = embeddings["query"], embeddings["document"]
    assert query.shape == (2, 23)
    assert (query >= 0).all()
    own = torch.stack([query[0] @ document[:2].T, query[1] @ document[2:].T])
    torch.testing.assert_close(model.score(query, document), 2 * own)
    torch.testing.assert_close(model.similarity(query, document), 2 * query @ document.T)


def test_trains_alone_with_every_trainable_parameter_in_use(tiny_sparse):
    """A parameter that never gets a gradient makes distributed training wait for ever."""
    model = SparseEncoder(tiny_sparse, layers=[0, 3], task_loss="in-batch").train()
    run(model, LISTS, "loss")["loss_in_batch"].backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_predictions_are_sparse_rows_pruned_as_the_saved_model_prunes(tiny_sparse):
    """Dense rows of 30,522 words would fill the memory; unpruned ones would measure another model than is saved."""
    model = SparseEncoder(tiny_sparse).eval()
    samples = [{"texts": {"query": text}, "key": ("query", text)} for text in ("read file", "sort list")]
    for limit in (None, 2):
        model.encoder.max_active_dims = limit
        expected = model.encoder.encode(["read file", "sort list"], convert_to_sparse_tensor=False)
        found = model.val_step(collate_texts(samples))
        assert [entry["id"] for entry in found] == ["read file", "sort list"]
        for entry, row in zip(found, expected, strict=True):
            assert scipy.sparse.issparse(entry["embedding"])
            assert entry["embedding"].nnz == (row != 0).sum()
            torch.testing.assert_close(torch.from_numpy(entry["embedding"].toarray()[0]), row)


def test_the_exported_student_is_a_sparse_encoder(tiny_sparse, tmp_path):
    """What a user takes away must give the very vectors that were trained, with the library alone."""
    model = SparseEncoder(tiny_sparse, layers=[0, 3], max_length=7).eval()
    assert export_student(model, tmp_path) == "sentence_transformers.SparseEncoder('student')"
    again = sentence_transformers.SparseEncoder(str(tmp_path), device="cpu")
    assert again.max_seq_length == 7
    texts = ["open csv", "tree graph", "sort search", "sound text"]
    assert torch.equal(again.encode(texts, convert_to_sparse_tensor=False), run(model, LISTS)["document"])


def test_a_model_without_words_is_refused(tiny_encoder):
    """The library appends a random auto-encoder to it, whose vectors are sparse and mean nothing."""
    with pytest.raises(
        UsageError, match=r"no head that scores the words .*got Transformer, Pooling, Normalize, Sparse"
    ):
        SparseEncoder(tiny_encoder)


def test_a_sparse_model_is_not_taken_for_a_dense_one(tiny_sparse):
    """The library takes the mean of its tokens, which ranks nonsense; `kdhub search` would show it."""
    for load in (SentenceEncoder, load_sentence_transformer):
        with pytest.raises(UsageError, match=r"holds a SparseEncoder, not a SentenceTransformer.*kdret\.SparseEncoder"):
            load(tiny_sparse)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": [0, 4]}, r"SparseEncoder: bad layers .*positions from 0 to 3"),
        ({"freeze": ["embeddings"]}, r"BertForMaskedLM has no module 'embeddings'"),
        ({"dropout": 1.0}, r"SparseEncoder: bad dropout"),
        ({"task_loss": "nll"}, r"SparseEncoder: bad task_loss"),
        ({"score_scale": 0}, r"SparseEncoder: bad score_scale"),
        ({"model": "./no/model"}, r"no model folder"),
        ({"model": "no-owner/no-such"}, r"cannot load the sparse encoder"),
    ],
)
def test_bad_arguments_of_a_sparse_encoder(tiny_sparse, arguments, message):
    """One line that names the component and says what would have been right."""
    with pytest.raises(UsageError, match=message) as caught:
        SparseEncoder(**{"model": tiny_sparse} | arguments)
    assert "\n" not in str(caught.value)
