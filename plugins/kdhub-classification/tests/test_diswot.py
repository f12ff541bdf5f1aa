"""DisWOT: the card's numbers and properties, budgets, resuming, and a winner that trains."""

import json
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from kdcls import student_search
from kdcls.commands.search_student import _batch, _batch_fingerprint, _searched, _student_config
from kdcls.digits import Digits
from kdcls.diswot import Knowledge, Score, draw_weights, knowledge, relation_score, score, semantic_score
from kdcls.student_search import FAILED, Budget, Candidate, Entry, Scorer, Space, evolve, read_history
from kdhub.api import student_as_it_stands
from kdhub.cli.main import main
from kdhub.config import check_config, load_config
from kdhub.engine.train import train
from kdhub.errors import UsageError
from kdhub.registry import init

few = settings(deadline=None, max_examples=30)
seeds = st.integers(0, 10_000)


def drawn(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_numbers_of_the_card():
    """Another normalisation, or a mean over another count, ranks students otherwise and looks as good."""
    assert relation_score(torch.tensor([[1.0], [1.0]]), torch.eye(2)) == pytest.approx(-0.292893, abs=1e-6)
    assert semantic_score(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 0.0]])) == pytest.approx(-0.792893, abs=1e-6)
    assert semantic_score(torch.tensor([[2.0, 4.0]]), torch.tensor([[1.0, 2.0]])) == pytest.approx(0.0, abs=1e-12)


@few
@given(seeds, st.integers(1, 4), st.integers(1, 6), st.booleans())
def test_the_closed_form_is_the_matrix_of_the_card(seed, classes, features, dead):
    """The features x features matrices are never made; what replaces them must be them, dead features included."""
    ours, theirs = drawn(seed, classes, features), drawn(seed + 1, classes, features)
    if dead:
        ours[:, 0] = 0.0
        theirs[0] = 0.0

    def matrix(g):
        product = g[:, None] * g[None]
        return torch.nn.functional.normalize(product, dim=1)

    squares = sum((matrix(one) - matrix(two)).square().sum() for one, two in zip(ours, theirs, strict=True))
    assert semantic_score(ours, theirs) == pytest.approx(-float(squares) / (classes * features), abs=1e-9)


@few
@given(seeds)
def test_scores_are_at_most_zero_and_zero_for_equals(seed):
    """A score above 0 would beat the teacher's own copy."""
    one, two = (Knowledge(drawn(s, 6, 3, 2, 2), drawn(s, 4, 5)) for s in (seed, seed + 1))
    assert score(one, one) == pytest.approx(Score(0.0, 0.0), abs=1e-12)
    assert max(score(one, two)) < 0
    assert score(one, two).total == pytest.approx(sum(score(one, two)))


@few
@given(seeds, st.floats(0.01, 100.0))
def test_what_scores_do_not_depend_on(seed, factor):
    """A student would be ranked by its scale, by a rotation of its features, or by the order of the batch."""
    student, teacher = drawn(seed, 6, 8), drawn(seed + 1, 6, 12)
    turn = torch.linalg.qr(drawn(seed + 2, 8, 8))[0]
    order = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    expected = relation_score(student, teacher)
    for ours, theirs in ((factor * student, teacher), (student @ turn, teacher), (student[order], teacher[order])):
        assert relation_score(ours, theirs) == pytest.approx(expected, abs=1e-9)
    student, teacher = drawn(seed, 4, 5), drawn(seed + 1, 4, 5)
    each = drawn(seed + 2, 4, 1)
    assert semantic_score(student * each, teacher) == pytest.approx(semantic_score(student, teacher), abs=1e-9)


def test_other_widths_compare_classes():
    """The formula of the paper is undefined there; the substitute is 0 for equals, and blind to a rotation of features."""
    student, turn = drawn(0, 4, 5), torch.linalg.qr(drawn(1, 7, 7))[0]
    wide = torch.cat([student, torch.zeros(4, 2, dtype=torch.float64)], 1) @ turn
    assert semantic_score(student, wide) == pytest.approx(0.0, abs=1e-12)
    assert semantic_score(student, drawn(2, 4, 7)) < 0
    with pytest.raises(UsageError, match="4 and 3 classes"):
        semantic_score(student, drawn(2, 3, 7))


class Net(nn.Module):
    """Stages of a convolution, norm, in-place ReLU and dropout; then a linear classifier."""

    def __init__(self, layers, channels):
        super().__init__()
        pieces, before = [], 1
        for depth, width in zip(layers, channels, strict=True):
            for _ in range(depth):
                pieces += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                before = width
        self.features = nn.Sequential(*pieces, nn.Dropout(0.1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, 3)

    def forward(self, images):
        return self.fc(self.pool(self.features(images)).flatten(1))


IMAGES = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 3


def test_scoring_changes_nothing():
    """A look that leaves gradients, statistics or random numbers behind changes what comes after it."""
    net = Net((1, 1), (4, 8)).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    known = knowledge(net, IMAGES, LABELS)
    assert known.activations.shape == (8, 8, 6, 6)
    assert known.gradient.shape == (3, 8)
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert all(weight.grad is None for weight in net.parameters())
    assert not net.training
    assert torch.equal(torch.get_rng_state(), state)


def test_the_gradient_is_that_of_the_cross_entropy():
    """By the wrong layer, or of the logits, the score still is a number."""
    net = Net((1,), (4,))
    net.features[-1].p = 0.0
    torch.nn.functional.cross_entropy(net.train()(IMAGES), LABELS).backward()
    known = knowledge(net, IMAGES, LABELS)
    torch.testing.assert_close(known.gradient, net.fc.weight.grad)
    # an in-place ReLU ran on what was kept
    assert known.activations.min() == 0


def test_a_net_without_maps_is_refused():
    """Its activations would be taken from somewhere else."""
    with pytest.raises(UsageError, match="no feature map"):
        knowledge(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), IMAGES, LABELS)


def test_weights_are_drawn_as_the_ranking_script_does():
    """Each network's own initialisation has another scale a layer, and is the other choice."""
    net = Net((1,), (64,))
    torch.manual_seed(0)
    draw_weights(net)
    assert net.features[0].weight.std().item() == pytest.approx(1.0, abs=0.1)
    assert not net.fc.bias.any()
    assert (net.features[1].weight == 1).all()


SPACE = Space(2, (1, 2), (2, 4, 8))
ANY = Budget()


def scorer(**options):
    return Scorer(lambda one: Net(one.layers, one.channels), lambda: Net((2, 2), (8, 8)), IMAGES, LABELS, **options)


def search(folder, evaluations=12, budget=ANY, **options):
    own = {"population": 4, "tournament": 2} | options
    return evolve(scorer(seeds=(0, 1)), SPACE, budget, folder, evaluations=evaluations, **own)


def test_the_best_of_the_history_is_returned(tmp_path):
    """An evolution that returns its last generation forgets its best."""
    best, history = search(tmp_path), read_history(tmp_path)
    assert len(history) == 12
    assert best.total == max(entry.total for entry in history) < 0
    assert all(entry.total == pytest.approx(entry.semantic + entry.relation) for entry in history)
    assert any(entry.spread > 0 for entry in history)


def test_a_stopped_search_ends_as_one_that_was_not(tmp_path):
    """A search over a night that begins anew after a power cut is lost; one that goes on elsewhere is not repeatable."""
    whole = search(tmp_path / "whole")
    search(tmp_path / "parts", 3)
    with (tmp_path / "parts/history.jsonl").open("a") as stream:
        stream.write('{"candidate": {"layers": [1, 1], "chan')  # the power went here
    search(tmp_path / "parts", 7)
    assert search(tmp_path / "parts") == whole
    assert read_history(tmp_path / "parts") == read_history(tmp_path / "whole")
    with pytest.raises(UsageError, match="other settings: seed"):
        search(tmp_path / "parts", seed=1)


@pytest.mark.parametrize("budget", [Budget(parameters=500), Budget(flops=30_000), Budget(latency_ms=1e4)])
def test_budgets_are_kept(tmp_path, budget):
    """A student that does not fit the device is no student, however well it scores."""
    search(tmp_path, 8, budget)
    history = read_history(tmp_path)
    assert all(budget.admits(entry.cost) for entry in history)
    largest = scorer().cost(Candidate((2, 2), (8, 8)), latency=True)
    assert budget.latency_ms is not None or not budget.admits(largest)


def test_costs_are_counted():
    """A count of something else would let through what does not fit."""
    cost = scorer().cost(Candidate((1,), (4,)), latency=True)
    # 3x3 kernels and biases, norm, classifier; 2 operations for each of 36 places, and the classifier's
    assert cost.parameters == (9 * 4 + 4) + 8 + (3 * 4 + 3)
    assert cost.flops == 2 * 36 * 9 * 4 + 2 * 3 * 4
    assert cost.latency_ms > 0


def test_a_budget_that_nothing_fits_is_told(tmp_path, monkeypatch):
    """An endless loop of draws says nothing."""
    monkeypatch.setattr(student_search, "_TRIES", 5)
    with pytest.raises(UsageError, match=r"no student within the budget.*smallest.*parameters=\d+"):
        search(tmp_path, budget=Budget(parameters=10))


def test_a_net_that_fails_ranks_last(tmp_path):
    """One candidate that overflows, or cannot run, must not end a search over a night."""

    def make(one):
        net = Net(one.layers, one.channels)
        if one.channels[0] == 4:
            net.fc = nn.Linear(999, 3)
        elif one.channels[0] == 8:
            net.features.append(Overflow())
        return net

    class Overflow(nn.Module):
        def forward(self, value):
            return value * math.inf

    tried = Scorer(make, lambda: Net((1, 1), (8, 8)), IMAGES, LABELS)
    totals = [tried.entry(Candidate((1, 1), (width, 8)), tried_cost()).total for width in (2, 4, 8)]
    assert totals[1:] == [FAILED, FAILED]
    assert FAILED < totals[0] <= 0


def test_a_net_that_cannot_run_is_kept_as_failed(tmp_path):
    """Its cost is asked for first; a traceback there ends a search over a night, and each time that it is resumed."""

    def make(one):
        if one.channels[0] == 4:
            raise ValueError("no such width")
        net = Net(one.layers, one.channels)
        if one.channels[0] == 2:
            net.fc = nn.Linear(999, 3)
        return net

    some, space = Scorer(make, lambda: Net((1,), (8,)), IMAGES, LABELS), Space(1, (1, 2), (2, 4, 8))
    best = evolve(some, space, ANY, tmp_path, evaluations=12, population=4, tournament=2)
    failed = [entry for entry in read_history(tmp_path) if entry.candidate.channels[0] < 8]
    assert {entry.candidate.channels for entry in failed} == {(2,), (4,)}
    assert all(entry.total == FAILED and entry.cost is None for entry in failed)
    assert best.candidate.channels == (8,)
    assert evolve(some, space, ANY, tmp_path, evaluations=14, population=4, tournament=2).total >= best.total


def test_a_search_without_a_score_has_no_winner(tmp_path):
    """The first of many that failed would be written down as the best student, and trained over a night."""

    def make(one):
        raise ValueError("no such width")

    none = Scorer(make, lambda: Net((1, 1), (8, 8)), IMAGES, LABELS)
    with pytest.raises(UsageError, match=r"none of 3 students could be scored.*no such width.*init='own'"):
        evolve(none, SPACE, ANY, tmp_path, evaluations=3)


def tried_cost():
    return scorer().cost(Candidate((1, 1), (2, 2)))


def test_parents_are_the_best_of_their_tournament(tmp_path, monkeypatch):
    """The authors' script draws them from the worst, and evolves away from what it looks for."""
    parents = []
    plain = Space.mutated
    monkeypatch.setattr(
        Space, "mutated", lambda self, parent, chance: parents.append(parent) or plain(self, parent, chance)
    )
    search(tmp_path, 10, tournament=4)
    history = read_history(tmp_path)
    for index, parent in enumerate(parents, start=4):
        living = history[index - 4 : index]
        assert parent == max(living, key=lambda entry: entry.total).candidate


@few
@given(seeds)
def test_candidates_stay_in_the_space(seed):
    """A width that nobody offered may not exist on the device."""
    chance = random.Random(seed)
    candidate = SPACE.drawn(chance)
    for _ in range(10):
        child = SPACE.mutated(candidate, chance)
        assert set(child.layers) <= {1, 2}
        assert set(child.channels) <= {2, 4, 8}
        assert list(child.channels) == sorted(child.channels)
        assert child != candidate
        candidate = child
    entry = Entry(candidate, tried_cost(), -1.0, -2.0, -3.0, 0.5)
    assert Entry.of(entry.line()) == entry


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Space(2, (2, 1)), "bad depths"),
        (lambda: Space(0), "bad stages"),
        (lambda: Budget(parameters=0), "bad parameters"),
        (lambda: Budget(latency_ms=-1.0), "bad latency_ms"),
        (lambda: scorer(init="kaiming"), "'normal' or 'own'"),
    ],
)
def test_bad_settings(make, message):
    """They would end a search at its first draw, or never."""
    with pytest.raises(UsageError, match=message):
        make()


STUDENT = """
_base_ = ["kdcls:digits-student"]
train_dataloader = dict(batch_size=64)
model = dict(
    student=dict(
        net=dict(
            _delete_=True, type="timm.create_model", model_name="resnet18", num_classes=10, in_chans=1,
            layers=[1, 1, 1, 1], channels=[8, 8, 16, 16])),
    objectives=dict(logits=dict(student="fc")))
"""


def test_the_winner_trains(tmp_path, monkeypatch, capsys):
    """A search whose result must be typed into a config by hand gives the wrong network to somebody."""
    pytest.importorskip("timm", reason="its ResNets are the space")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "student.py").write_text(STUDENT)
    command = [
        "search-student",
        "student.py",
        "--teacher",
        "kdcls:digits-teacher",
        "--params",
        "6e4",
        "--evaluations",
        "4",
    ]
    sizes = ["--population", "2", "--tournament", "2", "--depths", "1", "2", "--widths", "8", "16"]
    assert main([*command, *sizes, "--work-dir", "found"]) == 0
    shown = capsys.readouterr().out
    history = read_history(tmp_path / "found")
    assert len(json.loads((tmp_path / "found/search.json").read_text())["batch"]) == 16
    best = max(history, key=lambda entry: entry.total)
    assert all(entry.cost.parameters <= 60_000 for entry in history)
    assert str(best.candidate.layers) in shown
    cfg = load_config("found/student.py", ["teacher:train_cfg.max_epochs=1", "teacher:train_cfg.val_interval=1"])
    assert tuple(cfg.model.student.net.channels) == best.candidate.channels
    assert not check_config(cfg, init()).errors
    cfg.train_cfg = {"by_epoch": False, "max_iters": 3, "val_interval": 3}
    cfg.work_dir = str(tmp_path / "run")
    assert train(cfg).metrics["top1"] >= 0
    (tmp_path / "student.py").write_text(STUDENT.replace("batch_size=64", "batch_size=32"))
    assert main([*command, *sizes, "--work-dir", "found"]) == 2
    assert "other settings: batch, config" in capsys.readouterr().err


def test_the_batch_is_that_of_the_seed(monkeypatch):
    """Random crops of another batch after a power cut: one history would hold scores that cannot be compared."""
    init()
    cfg = load_config("kdcls:digits-student")
    monkeypatch.setattr(Digits, "__getitem__", lambda self, index: noisy(plain(self, index)))
    torch.manual_seed(1)
    first = _batch(cfg, cfg.model.student, 0)
    torch.manual_seed(2)
    random.seed(2)
    np.random.seed(2)
    again, other = _batch(cfg, cfg.model.student, 0), _batch(cfg, cfg.model.student, 1)
    assert _batch_fingerprint(*first) == _batch_fingerprint(*again) != _batch_fingerprint(*other)


plain = Digits.__getitem__


def noisy(sample):
    """What random transforms do, with each of the three generators."""
    chance = random.random() + float(np.random.rand()) + torch.rand(())
    return {**sample, "inputs": sample["inputs"] + chance}


def test_a_winner_of_a_config_without_a_distiller(tmp_path):
    """`model.student` of a plain model is a key that nobody reads: the config is refused, or trains the old net."""
    (tmp_path / "plain.py").write_text(
        '_base_ = ["kdcls:digits-teacher"]\nmodel = dict(net=dict(_delete_=True, type="timm.create_model",'
        ' model_name="resnet18", num_classes=10, in_chans=1, layers=[1, 1, 1, 1], channels=[8, 8, 16, 16]))\n'
    )
    text = _student_config(str(tmp_path / "plain.py"), tmp_path, Candidate((1, 2, 1, 1), (8, 8, 8, 24)), below=False)
    (tmp_path / "student.py").write_text(text)
    cfg = load_config(str(tmp_path / "student.py"))
    assert _searched(cfg, "student.py") == (student_as_it_stands(cfg)["model"], 4)
    assert cfg.model.net.channels == [8, 8, 8, 24]
    assert not check_config(cfg, init()).errors


def test_a_student_without_stages_is_refused(tmp_path, capsys):
    """The space would be that of another network."""
    command = ["search-student", "kdcls:digits-student", "--teacher", "kdcls:digits-teacher"]
    assert main([*command, "--work-dir", str(tmp_path)]) == 2
    assert "no stages to search over" in capsys.readouterr().err
