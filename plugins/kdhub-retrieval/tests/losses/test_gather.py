"""In-batch losses on two processes: value and gradient of one process with the whole batch."""

import os
import subprocess
import sys

import pytest
import torch

from kdhub.errors import UsageError
from kdret.losses import FLOPS, InBatchCrossEntropy, ListwiseKL

_SCRIPT = """
import datetime, sys, types, torch, kdret
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from kdhub.errors import UsageError
# the package itself imports sentence-transformers, which takes longer than this test and is not used here
sys.modules["kdret.losses"] = package = types.ModuleType("kdret.losses")
package.__path__ = [f"{kdret.__path__[0]}/losses"]
from kdret.losses.in_batch import InBatchCrossEntropy
from kdret.losses.listwise_kl import ListwiseKL
from kdret.losses.sparsity import FLOPS

folder, rank = sys.argv[1], int(sys.argv[2])
patience = datetime.timedelta(seconds=60)
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=patience)
case = torch.load(f"{folder}/case.pt")
encoder = torch.nn.Linear(6, 5, bias=False)
encoder.load_state_dict(case["weights"])
ddp = DistributedDataParallel(encoder)
half = len(case["query"]) // 2
query, document = (torch.chunk(case[name], 2)[rank] for name in ("query", "document"))
teacher = [torch.chunk(case[name], 2)[rank] for name in ("teacher_query", "teacher_document")]
found = {}
for name, loss in {
    "in_batch": InBatchCrossEntropy(gather=True),
    "own_negatives": InBatchCrossEntropy(gather=True, own_negatives=False),
    "listwise": ListwiseKL(temperature=0.5, gather=True),
    "apart": InBatchCrossEntropy(),
    "flops": FLOPS(gather=True),
}.items():
    encoder.zero_grad()
    both = ddp(torch.cat([query, document])).split([len(query), len(document)])
    given = {"listwise": [list(both), teacher], "flops": [both[1]]}.get(name, [list(both)])
    value = loss(*given)
    value.backward()
    found[name] = value.item(), encoder.weight.grad.clone()
try:
    InBatchCrossEntropy(gather=True)([query[rank:], document[rank:]])
except UsageError as error:
    found["uneven"] = str(error)
torch.save(found, f"{folder}/rank{rank}.pt")
"""


def test_two_processes_that_gather_train_as_one(tmp_path):
    """Two processes of 4 queries had a gradient of 0.73 of the norm of one with 8: fewer documents to be confused with."""
    generator = torch.Generator().manual_seed(0)
    case = {
        name: torch.randn(rows, 6, generator=generator)
        for name, rows in {"query": 8, "document": 16, "teacher_query": 8, "teacher_document": 16}.items()
    }
    encoder = torch.nn.Linear(6, 5, bias=False)
    torch.save(case | {"weights": encoder.state_dict()}, tmp_path / "case.pt")
    (tmp_path / "script.py").write_text(_SCRIPT)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, tmp_path / "script.py", tmp_path]
    with (
        subprocess.Popen([*command, "0"], env=environment) as first,
        subprocess.Popen([*command, "1"], env=environment) as second,
    ):
        assert (first.wait(), second.wait()) == (0, 0)
    found = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]

    def whole(name):
        encoder.zero_grad()
        both = [encoder(case["query"]), encoder(case["document"])]
        if name == "listwise":
            value = ListwiseKL(temperature=0.5)(both, [case["teacher_query"], case["teacher_document"]])
        elif name == "flops":
            value = FLOPS()(both[1])
        else:
            value = InBatchCrossEntropy(own_negatives=name != "own_negatives")(both)
        value.backward()
        return value.item(), encoder.weight.grad.clone()

    for name in ("in_batch", "own_negatives", "listwise", "flops"):
        value, gradient = whole(name)
        assert gradient.norm() > 0.1
        for rank in found:
            assert rank[name][0] == pytest.approx(value, rel=1e-4), name
            torch.testing.assert_close(rank[name][1], gradient, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found[0]["apart"][1], whole("in_batch")[1], rtol=0.05)
    assert all("the same number of texts in each process" in rank["uneven"] for rank in found)
    assert all("4 queries and 8 documents, 3 queries and 7 documents" in rank["uneven"] for rank in found)


def test_embeddings_give_the_loss_of_their_scores():
    """The tap that can be gathered must train as the one that most configs have."""
    query, document = torch.randn(3, 5), torch.randn(6, 5)
    for loss in (InBatchCrossEntropy(), InBatchCrossEntropy(own_negatives=False)):
        torch.testing.assert_close(loss([query, document]), loss(query @ document.T))
    teacher = torch.randn(3, 8), torch.randn(6, 8)
    loss = ListwiseKL(temperature=2.0)
    torch.testing.assert_close(
        loss([query, document], list(teacher)), loss(query @ document.T, teacher[0] @ teacher[1].T)
    )


@pytest.mark.parametrize(
    ("loss", "value", "message"),
    [
        (
            InBatchCrossEntropy(gather=True),
            torch.randn(2, 4),
            r"gather=True needs embeddings.*path='embed', call='all'",
        ),
        (InBatchCrossEntropy(), [torch.randn(2, 4)], r"embeddings of queries and documents .*got \(2, 4\)"),
        (InBatchCrossEntropy(), [torch.randn(2, 4), torch.randn(2, 5)], r"got \(2, 4\), \(2, 5\)"),
    ],
)
def test_inputs_that_cannot_be_gathered(loss, value, message):
    """A gather that does nothing would train on a part of the batch and look as if it did not."""
    with pytest.raises(UsageError, match=message):
        loss(value)


def test_losses_say_that_they_depend_on_the_split():
    """The core warns of accumulation and of several processes only where the loss says that they change its gradient."""
    assert InBatchCrossEntropy().depends_on_split == "samples"
    lists = [ListwiseKL().depends_on_split({tap}) for tap in ("score", "similarity", "embed")]
    assert [*lists, ListwiseKL(gather=True).depends_on_split({"score"})] == ["", "samples", "samples", "samples"]
