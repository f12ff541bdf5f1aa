"""Every kind of teacher with every kind of student: one step that trains, and the recipes end to end with tiny models."""

import json

import pytest
import sentence_transformers
import torch
from mmengine.optim import OptimWrapper

from kdhub.api import Distiller, load_config
from kdhub.engine.train import train
from kdhub.errors import UsageError
from kdret.data.collate import collate_texts

LISTS = [
    {"texts": {"query": "read file", "document": ["open csv", "tree graph", "json"]}, "labels": [9.0, 1.0, -2.0]},
    {"texts": {"query": "sort list", "document": ["sort search", "sound", "read"]}, "labels": [8.0, 3.0, 0.5]},
]
KINDS = {
    "dense": ("SentenceEncoder", "tiny_encoder"),
    "sparse": ("SparseEncoder", "tiny_sparse"),
    "multi": ("MultiVectorEncoder", "tiny_multi"),
    "cross": ("CrossEncoder", "tiny_cross"),
}


@pytest.fixture
def models(request):
    """A function from a kind to the config of its tiny model."""

    def config(kind, **options):
        name, fixture = KINDS[kind]
        return {"type": f"kdret.{name}", "model": request.getfixturevalue(fixture)} | options

    return config


def step(student, objectives, **teacher):
    """Take one step; return its terms, and the parameters that should train and got no gradient."""
    model = Distiller(student, objectives, **teacher).train()
    terms = model._run_forward(model.data_preprocessor(collate_texts(LISTS), True), mode="loss")
    model.parse_losses(terms)[0].backward()
    unused = [name for name, p in model.student.named_parameters() if p.requires_grad and p.grad is None]
    return {name: value.item() for name, value in terms.items()}, unused


def live(model):
    return {"type": "kdhub.ModelTeacher", "model": model}


@pytest.mark.filterwarnings("ignore:.*the teacher's scores differ by up to")
@pytest.mark.parametrize("teacher", KINDS)
@pytest.mark.parametrize("student", KINDS)
def test_any_teacher_teaches_any_student(teacher, student, models):
    """A kind whose scores have other axes would meet the losses with a shape that broadcasts."""
    objectives = {
        name: {"loss": {"type": f"kdret.{loss}"}, "student": "score", "teacher": "score"}
        for name, loss in {"margins": "MarginMSE", "lists": "ListwiseKL"}.items()
    }
    losses, unused = step(models(student, layers=[0, 3]), objectives, teacher=live(models(teacher)))
    assert losses.keys() == {"loss_margins", "loss_lists"}
    assert all(value > 0 for value in losses.values())
    assert unused == []


@pytest.mark.parametrize("student", KINDS)
def test_cached_scores_teach_any_student(student, models):
    """A teacher that ran once, of whatever kind, is a file of scores."""
    objectives = {
        "margins": {"loss": {"type": "kdret.MarginMSE"}, "student": "score", "batch": {"labels": "labels"}},
    }
    losses, _ = step(models(student, score_scale=10.0), objectives)
    assert losses["loss_margins"] > 0


@pytest.mark.parametrize("teacher", ["dense", "sparse"])
@pytest.mark.parametrize("student", ["dense", "sparse"])
def test_a_student_of_another_width(student, teacher, models):
    """A student must not need its teacher's width; without the map, two widths are an error that names it."""
    columns = {"type": "kdhub.MethodOutput", "path": "embed", "call": "cat"}
    width = {"dense": 32, "sparse": len(sentence_transformers.SparseEncoder(models("sparse")["model"]).tokenizer)}
    objective = {"loss": {"type": "kdret.EmbeddingDistill"}, "student": columns, "teacher": columns}
    if student != teacher:
        with pytest.raises(UsageError, match=r"cannot compare the two sides.*kdhub\.Linear"):
            step(models(student), {"embedding": objective}, teacher=live(models(teacher)))
    adapter = {"type": "kdhub.Linear", "in_features": width[student], "out_features": width[teacher]}
    losses, unused = step(
        models(student), {"embedding": objective | {"adapter": [adapter]}}, teacher=live(models(teacher))
    )
    assert losses["loss_embedding"] > 0
    assert unused == []


@pytest.mark.filterwarnings("ignore:.*the teacher's scores differ by up to")
def test_an_ensemble_teaches(models):
    """The objective must not need to know that its teacher is several."""
    members = {kind: live(models(kind)) for kind in ("cross", "multi", "sparse")}
    ensemble = {"type": "kdret.ScoreEnsemble", "teachers": members, "normalize": "zscore"}
    lists = {"loss": {"type": "kdret.ListwiseKL"}, "student": "score", "teacher": "score"}
    losses, unused = step(models("dense"), {"lists": lists}, teacher=ensemble)
    assert losses["loss_lists"] > 0
    assert unused == []


def test_the_sides_of_a_sparse_student_are_regularised_apart(models):
    """`call=0` must be the queries and `call=1` the documents, or both weights are exchanged."""
    flops = {
        side: {
            "loss": {"type": "kdret.FLOPS"},
            "student": {"type": "kdhub.MethodOutput", "path": "embed", "call": call},
            "weight": weight,
        }
        for side, call, weight in (("query", 0, 10.0), ("document", 1, 1.0))
    }
    student = models("sparse", dropout=0.0)
    losses, _ = step(student, flops)
    encoder = sentence_transformers.SparseEncoder(student["model"], device="cpu")
    for side, texts, weight in (
        ("query", ["read file", "sort list"], 10.0),
        ("document", [text for one in LISTS for text in one["texts"]["document"]], 1.0),
    ):
        rows = encoder.encode(texts, convert_to_sparse_tensor=False)
        assert losses[f"loss_{side}"] == pytest.approx(weight * rows.mean(0).square().sum().item(), rel=1e-4)


def test_a_sparse_student_learns_while_it_becomes_sparse(models):
    """A regulariser that reaches no weight of the encoder, or all of them, is seen in no single step."""
    documents = {"type": "kdhub.MethodOutput", "path": "embed", "call": 1}
    rise = {"type": "kdhub.WarmupSchedule", "value": 0.5, "steps": 40, "power": 2}
    objectives = {
        "lists": {"loss": {"type": "kdret.ListwiseKL"}, "student": "score", "teacher": "score"},
        "flops": {"loss": {"type": "kdret.FLOPS"}, "student": documents, "weight": rise},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        teacher = live(models("cross", score_scale=20.0))
        model = Distiller(models("sparse", dropout=0.0), objectives, teacher=teacher).train()
        wrapper = OptimWrapper(torch.optim.AdamW(model.student.parameters(), lr=1e-3))
        active, losses = [], []
        for _ in range(60):
            losses.append(model.train_step(collate_texts(LISTS), wrapper)["loss_lists"].item())
            batch = model.student.data_preprocessor(collate_texts(LISTS))["inputs"]["document"]
            with torch.no_grad():
                active.append((model.student.embed(batch) != 0).sum(1).float().mean().item())
    assert losses[0] > 10 * losses[-1]
    assert 0 < active[-1] < 0.8 * active[0]


RECIPES = {"cross-to-dense": "dense", "cross-to-colbert": "multi", "cross-to-splade": "sparse"}
LIBRARY = {
    "dense": sentence_transformers.SentenceTransformer,
    "multi": sentence_transformers.MultiVectorEncoder,
    "sparse": sentence_transformers.SparseEncoder,
}


@pytest.mark.filterwarnings("ignore:.*the teacher's scores differ by up to")
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_mines_trains_evaluates_and_exports(recipe, tiny_mined, models, tmp_path):
    """Each way from a cross-encoder to a first stage: what is evaluated, saved and loaded must be what was trained."""
    kind = RECIPES[recipe]
    tiny = {"model.student.model": models(kind)["model"], "model.teacher.model.model": models("cross")["model"]}
    short = {"train_cfg.max_iters": 2, "train_cfg.val_interval": 2, "work_dir": str(tmp_path / "work")}
    options = tiny_mined | tiny | short
    result = train(load_config(f"kdret:{recipe}", options))
    card = json.loads((result.work_dir / "run.json").read_text())
    measured = card["baselines"]["student"]
    assert 0 < measured["retrieval/nDCG@10"] <= 1
    assert json.loads((result.work_dir / "lists/run.json").read_text())["results"] == {"lists": 8}
    assert ("retrieval/flops" in measured) == (kind == "sparse")
    assert card["models"]["teacher"]["type"] == "CrossEncoder"
    student = LIBRARY[kind](str(result.student_path), device="cpu")
    assert isinstance(student, LIBRARY[kind])
    assert len(student.encode(["read file"])) == 1
