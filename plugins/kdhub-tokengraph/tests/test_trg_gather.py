"""TRG on two processes: value and gradient of one process with the joined batch."""

import json
import os
import subprocess
import sys

import pytest
import torch

from kdtrg.losses.local_graph import LocalGraph
from kdtrg.losses.trg import TRGLoss

OPTIONS = {
    "all": {},
    "drawn": {"tokens": 3, "draw": 7, "seed": 1},
    "chunks": {"tokens": 3, "draw": 7, "chunk": 5},
    "apart": {"gather": False},
}

_SCRIPT = """
import datetime, json, sys, torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from kdhub.errors import UsageError
from kdtrg.losses.trg import TRGLoss

folder, rank = sys.argv[1], int(sys.argv[2])
patience = datetime.timedelta(seconds=60)
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2, timeout=patience)
case = torch.load(f"{folder}/case.pt")
pictures, teacher = (torch.chunk(case[name], 2)[rank] for name in ("pictures", "teacher"))


class Both(nn.Module):
    def __init__(self, options):
        super().__init__()
        self.encoder = nn.Linear(5, 4, bias=False)
        self.loss = TRGLoss(**{"gather": True, **options}, k=4, temperature=0.5, in_features=4, out_features=6)
        self.load_state_dict(case["weights"])

    def forward(self, pictures, teacher):
        return self.loss(self.encoder(pictures), teacher)


found = {}
for name, options in json.loads(sys.argv[3]).items():
    both = Both(options)
    ddp = DistributedDataParallel(both)  # kept: without it gradients are not averaged
    terms = ddp(pictures, teacher)
    sum(terms.values()).backward()
    values = {term: value.detach() for term, value in terms.items()}
    found[name] = values, [weight.grad.clone() for weight in both.parameters()]
try:
    Both({})(pictures[rank:], teacher[rank:])
except UsageError as error:
    found["uneven"] = str(error)
torch.save(found, f"{folder}/rank{rank}.pt")
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What both processes found, and the weights and inputs that they had."""
    folder = tmp_path_factory.mktemp("gather")
    generator = torch.Generator().manual_seed(0)
    case = {
        name: torch.randn(6, 5, width, generator=generator) for name, width in {"pictures": 5, "teacher": 6}.items()
    }
    shapes = {"encoder.weight": (4, 5), "loss.projection.weight": (6, 4)}
    case["weights"] = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    torch.save(case, folder / "case.pt")
    (folder / "script.py").write_text(_SCRIPT)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, folder / "script.py", folder]
    with (
        subprocess.Popen([*command, "0", json.dumps(OPTIONS)], env=environment) as first,
        subprocess.Popen([*command, "1", json.dumps(OPTIONS)], env=environment) as second,
    ):
        assert (first.wait(), second.wait()) == (0, 0)
    return case, [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def alone(case, options):
    """One process with the joined batch."""
    loss = TRGLoss(**options, k=4, temperature=0.5, in_features=4, out_features=6)
    weight = case["weights"]["encoder.weight"].clone().requires_grad_()
    with torch.no_grad():
        loss.projection.weight.copy_(case["weights"]["loss.projection.weight"])
    terms = loss(case["pictures"] @ weight.T, case["teacher"])
    return terms, torch.autograd.grad(sum(terms.values()), [weight, loss.projection.weight])


@pytest.mark.parametrize("name", ["all", "drawn", "chunks"])
def test_two_processes_that_gather_train_as_one(outcome, name):
    """Each process alone has half of the graph: other neighbours, fewer negatives, another gradient."""
    case, ranks = outcome
    terms, gradients = alone(case, OPTIONS[name])
    assert all(gradient.norm() > 0.01 for gradient in gradients)
    for values, found in (rank[name] for rank in ranks):
        for term in ("local", "global"):
            torch.testing.assert_close(values[term], terms[term].detach(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found, list(gradients), rtol=1e-3, atol=1e-5)
    # within images: each process has the mean of its own
    both = torch.stack([rank[name][0]["context"] for rank in ranks]).mean()
    torch.testing.assert_close(both, terms["context"].detach(), rtol=1e-4, atol=1e-6)


def test_processes_that_do_not_gather_differ(outcome):
    """If this were equal too, the test above would show nothing."""
    case, ranks = outcome
    _, gradients = alone(case, {})
    assert not torch.allclose(ranks[0]["apart"][1][0], gradients[0], rtol=0.05)


def test_uneven_processes_are_refused(outcome):
    """Exchanging tensors of different sizes hangs, or mixes up rows."""
    _, ranks = outcome
    for rank in ranks:
        assert "the same number of images and tokens in each process" in rank["uneven"]
        assert "3·5 tokens, 2·5 tokens" in rank["uneven"]


def test_the_split_is_told():
    """The core warns of accumulation and of processes only where the loss says that its gradient changes."""
    assert LocalGraph().depends_on_split == TRGLoss().depends_on_split == "samples"
