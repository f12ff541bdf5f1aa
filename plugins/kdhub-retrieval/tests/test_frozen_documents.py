"""`frozen_documents=True`: queries move, and what an index holds does not."""

import pytest
import sentence_transformers
import torch
from mmengine.optim import OptimWrapper
from sentence_transformers.base.modules import Router

from kdhub.errors import UsageError
from kdret.data.collate import collate_texts
from kdret.encoder import SentenceEncoder
from kdret.export import export_student
from kdret.layers import freeze_documents, keep_layers
from kdret.loading import load_text_model
from kdret.multi_vector_encoder import MultiVectorEncoder
from kdret.sparse_encoder import SparseEncoder

LISTS = [
    {"texts": {"query": "read file", "document": ["open csv", "tree graph"]}},
    {"texts": {"query": "sort list", "document": ["sort search", "sound text"]}},
]
DOCUMENTS = [text for sample in LISTS for text in sample["texts"]["document"]]
QUERIES = [sample["texts"]["query"] for sample in LISTS]


def encoded(model, column):
    """Embed without gradient, in the mode that the model is in."""
    inputs = model.data_preprocessor(collate_texts(LISTS))["inputs"]
    with torch.no_grad():
        return torch.cat(
            [torch.as_tensor(row).flatten() for row in map(dense, model.rows(model.embed(inputs[column])))]
        )


def dense(row):
    return row.toarray() if hasattr(row, "toarray") else row


@pytest.fixture(params=["dense", "sparse", "multi"])
def student(request):
    """A student of 2 layers beside frozen documents of 4, and the folder that it was loaded from."""
    kind, fixture = {
        "dense": (SentenceEncoder, "tiny_encoder"),
        "sparse": (SparseEncoder, "tiny_sparse"),
        "multi": (MultiVectorEncoder, "tiny_multi"),
    }[request.param]
    folder = request.getfixturevalue(fixture)
    model = kind(folder, layers=[0, 3], max_length=8, dropout=0.3, task_loss="in-batch", frozen_documents=True)
    return model, folder


def test_a_step_moves_queries_and_no_document(student):
    """DiSCo card item 12: after one step documents are bit-identical, queries differ, and dropout is off on their side."""
    model, folder = student
    whole = type(model)(folder).eval()
    before = encoded(whole, "document")
    assert torch.equal(encoded(model.eval(), "document"), before)
    queries = encoded(model, "query")
    model.train()
    assert torch.equal(encoded(model, "document"), encoded(model, "document"))
    assert not torch.equal(encoded(model, "query"), encoded(model, "query"))
    trained = [p for p in model.parameters() if p.requires_grad]
    model._run_forward(model.data_preprocessor(collate_texts(LISTS), True), mode="loss")["loss_in_batch"].backward()
    assert all(p.grad is not None for p in trained)
    model.zero_grad()
    model.train_step(collate_texts(LISTS), OptimWrapper(torch.optim.SGD(trained, lr=0.5)))
    assert torch.equal(encoded(model, "document"), before)
    assert not torch.equal(encoded(model.eval(), "query"), queries)


def test_both_sides_are_exported_and_can_be_trained_on(student, tmp_path):
    """The library must choose the side by `encode_query` and `encode_document`, and kdret must load it as it was."""
    model, _ = student
    model.eval()
    export_student(model, tmp_path)
    again = load_text_model(str(tmp_path), type(model).model_class)
    for column, texts, encode in (
        ("query", QUERIES, again.encode_query),
        ("document", DOCUMENTS, again.encode_document),
    ):
        options = {"convert_to_sparse_tensor": False} if isinstance(again, sentence_transformers.SparseEncoder) else {}
        found = encode(texts, **options)
        theirs = torch.cat([torch.as_tensor(row).flatten() for row in found])
        torch.testing.assert_close(encoded(model, column), theirs)
    parted = type(model)(str(tmp_path), frozen_documents=True).eval()
    assert torch.equal(encoded(parted, "document"), encoded(model, "document"))
    assert sum(p.requires_grad for p in parted.parameters()) == sum(p.requires_grad for p in model.parameters())


def test_a_model_parted_by_something_else(tiny_encoder):
    """A model of texts and pictures has two sides too, and neither is that of documents."""
    encoder = load_text_model(tiny_encoder, sentence_transformers.SentenceTransformer)
    modules = list(encoder)
    del encoder[:]
    encoder.append(Router({"text": modules, "image": modules}, default_route="text"))
    with pytest.raises(UsageError, match=r"expected routes 'query' and 'document', got 'text', 'image'"):
        freeze_documents("SentenceEncoder", encoder)
    with pytest.raises(UsageError, match="no transformer inside"):
        keep_layers("SentenceEncoder", encoder, [0])


BATCHES = [DOCUMENTS, [*DOCUMENTS[2:], "a longer text about csv and graph"], DOCUMENTS[:1]]


def embedded(model, texts):
    """Embed documents as a batch, as dense or padded tensors."""
    inputs = model.data_preprocessor({"texts": {"document": texts}})["inputs"]
    with torch.no_grad():
        return [torch.as_tensor(dense(row)) for row in model.rows(model.embed(inputs["document"]))]


def test_a_document_is_encoded_once_and_to_the_same_numbers(student):
    """SPLADE documents cost more than all else in a step; and a vector that depended on its batch would differ after a resume."""
    model, folder = student
    whole = type(model)(folder).eval()
    first = {text: row for texts in BATCHES for text, row in zip(texts, embedded(model, texts), strict=True)}
    assert model.document_vectors.encoded == len(first) == 5
    again = type(model)(folder, frozen_documents=True)
    for texts in reversed(BATCHES):
        for text, row, live in zip(texts, embedded(again, texts), embedded(whole, texts), strict=True):
            assert torch.equal(row, first[text])
            torch.testing.assert_close(row, live)  # a batch rounds otherwise
    model.train()
    embedded(model, DOCUMENTS)
    assert model.document_vectors.encoded == 5


def test_vectors_serve_later_runs_and_no_other_weights(student, tmp_path, capsys):
    """Vectors of other weights would be right in form and wrong in each number; a killed process leaves half a record."""
    model, folder = student
    kind, kept = type(model), str(tmp_path / "vectors")

    def encoded_anew(encoder, batch=DOCUMENTS):
        found = embedded(encoder, batch)
        return encoder.document_vectors.encoded, found

    count, first = encoded_anew(kind(folder, frozen_documents=True, document_vectors=kept))
    assert count == 4
    later = kind(folder, layers=[0], frozen_documents=True, document_vectors=kept)
    count, second = encoded_anew(later)
    assert count == 0
    assert all(map(torch.equal, first, second))
    weights = {name: value + 0.1 if "document" in name else value for name, value in later.state_dict().items()}
    later.load_state_dict(weights)
    count, other = encoded_anew(later)
    assert count == 4
    assert not torch.equal(other[0], first[0])
    for path in (tmp_path / "vectors").glob("*/*.vectors"):
        path.write_bytes(path.read_bytes()[:-1])
    count, third = encoded_anew(kind(folder, frozen_documents=True, document_vectors=kept))
    assert count == 1
    assert all(map(torch.equal, first, third))
    assert "the documents from there on are encoded again" in capsys.readouterr().err


def test_vectors_of_documents_that_train_are_refused(tiny_encoder):
    """The first step makes them those of another model."""
    with pytest.raises(UsageError, match="document_vectors without frozen_documents"):
        SentenceEncoder(tiny_encoder, document_vectors="vectors")
