"""DiSCo's objective, put together from kdret's losses, has the numbers of its card; its recipe trains."""

import json

import pytest
import sentence_transformers
import torch

from kdhub.api import load_config, train
from kdret.losses import InBatchCrossEntropy, ListwiseKL

QUERY = torch.tensor([[1.0, 0, 2], [0, 1, 0]], dtype=torch.float64)
DOCUMENTS = torch.tensor([[[1.0, 0, 1], [0, 1, 1]], [[0, 2, 0], [1, 1, 0]]], dtype=torch.float64)
TEACHER = torch.tensor([[4.0, 1], [2, 2]], dtype=torch.float64)


def test_the_whole_objective():
    """Card disco.md, acceptance 5: 0.99 KL + 0.01 cross-entropy over all negatives of the batch and no other positive."""
    lists = torch.einsum("bv,bkv->bk", QUERY, DOCUMENTS)
    assert lists.tolist() == [[3, 2], [2, 1]]
    kl = ListwiseKL(temperature=1.0)(lists, labels=TEACHER)
    contrast = InBatchCrossEntropy(temperature=1.0, other_positives=False)(QUERY @ DOCUMENTS.flatten(0, 1).T)
    assert kl.item() == pytest.approx(0.1449685, abs=1e-6)
    assert contrast.item() == pytest.approx(0.4795253, abs=1e-6)
    assert (0.99 * kl + 0.01 * contrast).item() == pytest.approx(0.1483141, abs=1e-6)


@pytest.mark.parametrize(("tau", "value"), [(1.0, 0.0815547), (2.0, 0.1206670), (4.0, 0.1241053), (100.0, 0.1119042)])
def test_the_temperature_carries_its_square(tau, value):
    """Card disco.md, acceptance 4: without the factor the gradient vanishes as the temperature grows."""
    s, t = torch.tensor([[2.0, 1, 0]], dtype=torch.float64), torch.tensor([[3.0, 1, 0]], dtype=torch.float64)
    loss = ListwiseKL(temperature=tau)
    assert loss(s, labels=t).item() == pytest.approx(value, abs=1e-6)
    assert loss(s + 5, labels=t - 3).item() == pytest.approx(value, abs=1e-6)


def test_the_mean_is_over_queries():
    """Card disco.md, acceptance 3: PyTorch's `mean` divides by the documents too, a factor of K."""
    s = torch.tensor([[2.0, 1, 0], [0, 0, 0]], dtype=torch.float64)
    t = torch.tensor([[3.0, 1, 0], [1, 0, 0]], dtype=torch.float64)
    assert ListwiseKL(temperature=1.0)(s, labels=t).item() == pytest.approx(0.1024196, abs=1e-6)


def test_the_recipe_moves_queries_and_leaves_documents(tiny_candidates, tiny_sparse, tmp_path):
    """An index of the teacher's documents must serve the student, or the point of DiSCo is lost."""
    short = {"train_cfg.max_epochs": 1, "train_cfg.val_interval": 1, "work_dir": str(tmp_path / "work")}
    own = {"model.student.model": tiny_sparse, "optim_wrapper.optimizer.lr": 1e-2}
    window = {"train_dataloader.dataset.skip": 0, "train_dataloader.dataset.keep": 9}
    result = train(load_config("kdret:disco", tiny_candidates | short | own | window))
    measured = json.loads((result.work_dir / "run.json").read_text())["evaluations"][-1]["metrics"]
    assert measured["retrieval/active_query"] > 0
    before, after = (
        sentence_transformers.SparseEncoder(str(folder), device="cpu") for folder in (tiny_sparse, result.student_path)
    )
    documents = [model.encode_document(["read file", "sort list"]).to_dense() for model in (before, after)]
    queries = [model.encode_query(["read file", "sort list"]).to_dense() for model in (before, after)]
    assert torch.equal(*documents)
    assert not torch.equal(*queries)
