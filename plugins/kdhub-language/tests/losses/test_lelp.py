"""LELP: hand values of the card, properties of the projections, the predictor, and the job."""

import math

import pytest
import torch
import transformers

from kdhub import UsageError
from kdhub.api import load_config, train
from kdhub.testing import assert_loss_contract
from kdlm import plugin
from kdlm.losses.lelp import LELP, lelp_target, marginal_logits
from kdlm.projections import FILE, Projections, fit_projections, fitted
from kdlm.subclass_model import SubclassModel

HEAD = torch.tensor([[0.0, 0, 1], [0, 0, -1]])
POINTS = torch.tensor([[1.0, 0, 2], [-1, 0, 2], [0, 1, -2], [0, -1, -2]])


def of_the_card():
    """The card's directions, not rotated and not scaled."""
    directions = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[0, 1, 0], [1, 0, 0]]])
    return Projections(directions, torch.zeros(2, 3), torch.ones(2), torch.ones(2, 2, dtype=torch.bool))


@pytest.mark.parametrize(
    ("temperature", "target"),
    [(4.0, (0.534447, 0.196612, 0.072329, 0.196612)), (1.0, (0.717910, 0.264104, 0.004837, 0.013149))],
)
def test_hand_values(temperature, target):
    """The card's first sample: the classes by the teacher's logits, their parts by its embedding."""
    found = lelp_target(torch.tensor([[2.0, -2.0]]), POINTS[:1], of_the_card(), temperature, 1.0)
    assert found.flatten().tolist() == pytest.approx(target, abs=1e-6)
    loss = LELP(of_the_card(), temperature)
    assert float(loss(torch.zeros(1, 4), torch.tensor([[2.0, -2.0]]), POINTS[:1])) == pytest.approx(
        math.log(4), abs=1e-6
    )


def some(classes=3, subclasses=2, width=8, count=60):
    random = torch.Generator().manual_seed(0)
    embeddings = torch.randn(count, width, generator=random)
    head = torch.randn(classes, width, generator=random)
    return (
        embeddings,
        torch.arange(count) % classes,
        head,
        fitted(embeddings, torch.arange(count) % classes, head, subclasses),
    )


def test_contract():
    """What kdhub takes for granted of a loss."""
    *_, projections = some()
    spec = next(spec for spec in plugin.kdhub_losses() if spec.name == "LELP")
    assert_loss_contract(
        LELP(projections), inputs={"student": (4, 6), "teacher": (4, 3), "teacher_embedding": (4, 8)}, spec=spec
    )


def test_the_target_is_a_distribution_with_the_teachers_classes():
    """Splitting a class must not move weight to another."""
    embeddings, _, head, projections = some()
    logits = embeddings @ head.T
    target = lelp_target(logits, embeddings, projections, 2.0, 0.5)
    torch.testing.assert_close(target.sum(2), (logits / 2).softmax(1))
    torch.testing.assert_close(target.sum((1, 2)), torch.ones(len(logits)))


def test_directions_are_orthonormal_and_say_what_the_classifier_does_not():
    """A direction that the head reads repeats the class; two alike waste an output."""
    *_, head, projections = some()
    for directions in projections.directions:
        torch.testing.assert_close(directions @ directions.T, torch.eye(2), atol=1e-6, rtol=0)
        assert (directions @ head.T).abs().max() < 1e-5


def test_directions_of_the_card():
    """Its example: the head reads the third axis, and each class spreads along one of the other two."""
    found = fitted(POINTS, torch.tensor([0, 0, 1, 1]), HEAD, 2, rotate=False, scale=False)
    torch.testing.assert_close(found.directions[:, 0], torch.tensor([[1.0, 0, 0], [0, 1, 0]]), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.means, torch.zeros(2, 3), atol=1e-6, rtol=0)
    # two texts span one direction: the second pseudo-class of each is left out
    assert found.kept.tolist() == [[True, False], [True, False]]
    target = lelp_target(torch.zeros(4, 2), POINTS, found, 1.0, 1.0)
    assert target[:, :, 1].abs().max() == 0
    assert LELP(found)(torch.zeros(4, 4), torch.zeros(4, 2), POINTS).isfinite()


def test_rotation_evens_out_the_variance():
    """Without it the first pseudo-class takes nearly all."""
    random = torch.Generator().manual_seed(1)
    points = torch.randn(4000, 6, generator=random) * torch.tensor([9.0, 1, 1, 1, 1, 1])
    spreads = []
    for seed in range(40):
        found = fitted(points, torch.zeros(4000, dtype=torch.long), torch.zeros(1, 6), 4, scale=False, seed=seed)
        spreads.append(found.along(points)[:, 0].var(0))
    even = torch.stack(spreads).mean(0)
    assert float(even.max() / even.min()) < 3
    again = fitted(points, torch.zeros(4000, dtype=torch.long), torch.zeros(1, 6), 4, scale=False, seed=0)
    assert torch.equal(
        again.directions,
        fitted(points, torch.zeros(4000, dtype=torch.long), torch.zeros(1, 6), 4, scale=False).directions,
    )


def test_scaled_projections_have_one_size():
    """Else β means another thing on each data set."""
    embeddings, labels, head, projections = some()
    times = fitted(100 * embeddings, labels, head, 2)
    torch.testing.assert_close(projections.along(embeddings), times.along(100 * embeddings), atol=1e-4, rtol=1e-4)


def test_limits():
    """β towards infinity, and S = 1, are plain distillation."""
    embeddings, labels, head, projections = some()
    logits, student = embeddings @ head.T, torch.randn(60, 6, generator=torch.Generator().manual_seed(2))
    target = lelp_target(logits, embeddings, projections, 1.0, 1e9)
    torch.testing.assert_close(target, (logits.softmax(1) / 2).unsqueeze(2).expand(-1, -1, 2))
    one = fitted(embeddings, labels, head, 1)
    wanted = -(logits.softmax(1) * student[:, :3].log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(LELP(one)(student[:, :3], logits, embeddings), wanted)


def test_pseudo_classes_have_no_order():
    """Permuted together with the student's outputs, the loss stays."""
    embeddings, _, head, projections = some()
    logits, student = embeddings @ head.T, torch.randn(60, 6, generator=torch.Generator().manual_seed(2))
    turned = projections._replace(directions=projections.directions.flip(1), kept=projections.kept.flip(1))
    torch.testing.assert_close(
        LELP(projections)(student, logits, embeddings),
        LELP(turned)(student.unflatten(1, (3, 2)).flip(2).flatten(1), logits, embeddings),
    )


def test_prediction_is_by_the_sum_of_a_class():
    """The largest output may belong to another class than the largest sum."""
    logits = torch.tensor([[2.0, -9.0, 1.5, 1.5]])
    assert int(logits.argmax()) // 2 == 0
    assert int(marginal_logits(logits, 2).argmax()) == 1
    torch.testing.assert_close(marginal_logits(logits, 2).softmax(1), logits.softmax(1).unflatten(1, (2, 2)).sum(2))
    with pytest.raises(UsageError, match="multiple of 3"):
        marginal_logits(logits, 3)


def test_sizes_that_do_not_fit():
    """Projections of another teacher would be multiplied to an error deep in einsum, or not be noticed at all."""
    embeddings, labels, head, projections = some()
    with pytest.raises(UsageError, match="num_labels=6"):
        LELP(projections)(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 8))
    with pytest.raises(UsageError, match="no text of class 2"):
        fitted(embeddings, labels.clamp(max=1), head, 2)
    with pytest.raises(UsageError, match="sizes that do not fit"):
        fitted(embeddings, labels, head[:, :3], 2)
    with pytest.raises(UsageError, match="no projections"):
        LELP("nowhere.safetensors")


NET = "transformers.AutoModelForSequenceClassification.from_config"
BERT = {"vocab_size": 300, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
BERT = {"type": "transformers.BertConfig", **BERT, "pad_token_id": 0}


def test_a_job_fits_and_a_student_learns(tmp_path, table, tokenizer):
    """Teacher, projections and student must agree about classes and channels from end to end."""
    rows = [{"text": f"{text} {number}", "label": text} for number in range(6) for text in ("Read", "Close")]
    dataset = {"type": "kdlm.TextTable", "path": table(rows), "tokenizer": tokenizer, "label": "label"}
    teacher = {"type": "kdhub.TorchModel", "net": {"type": NET, "config": {**BERT, "num_labels": 2}}}
    torch.manual_seed(0)
    from kdhub.api import build, init

    init()
    built = build("model", teacher, where="teacher")
    built.net.save_pretrained(tmp_path / "teacher")
    teacher["net"] = {
        "type": "transformers.AutoModelForSequenceClassification.from_pretrained",
        "pretrained_model_name_or_path": str(tmp_path / "teacher"),
    }
    (tmp_path / "job").mkdir()
    found = fit_projections(tmp_path / "job", teacher, dataset, subclasses=3, batch_size=5)
    assert found == {"texts": 12, "classes": 2, "pseudo_classes": 6}
    projections = Projections.read(str(tmp_path / "job" / FILE))
    assert (projections.directions @ built.net.classifier.weight.detach().T).abs().max() < 1e-5
    with pytest.raises(UsageError, match="no linear layer"):
        fit_projections(tmp_path / "job", teacher, dataset, classifier="clasifier")
    loader = {"batch_size": 4, "num_workers": 0, "dataset": dataset, "collate_fn": {"type": "kdlm.collate_tokens"}}
    content = {
        "model": {
            "type": "kdhub.Distiller",
            "student": {"type": "kdlm.SubclassModel", "subclasses": 3, "net": {"type": NET, "config": {**BERT, "num_labels": 6}}},
            "teacher": {"type": "kdhub.ModelTeacher", "batch": "student", "model": teacher},
            "objectives": {
                "subclasses": {
                    "loss": {"type": "kdlm.LELP", "projections": str(tmp_path / "job" / FILE)},
                    "student": "classifier",
                    "teacher": {
                        "teacher": "classifier",
                        "teacher_embedding": {"type": "kdhub.ModuleInput", "path": "classifier"},
                    },
                }
            },
            "task_weight": 0.0,
        },
        "train_dataloader": loader | {"sampler": {"type": "DefaultSampler", "shuffle": True}},
        "val_dataloader": loader | {"sampler": {"type": "DefaultSampler", "shuffle": False}},
        "val_evaluator": {"type": "kdhub.Accuracy"},
        "val_cfg": {},
        "train_cfg": {"by_epoch": False, "max_iters": 4, "val_interval": 4},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 0.01}},
        "work_dir": str(tmp_path / "run"),
    }  # fmt: skip
    (tmp_path / "run.py").write_text("".join(f"{name} = {value!r}\n" for name, value in content.items()))
    assert "top1" in train(load_config(str(tmp_path / "run.py"))).metrics
    saved = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "run" / "student")
    assert saved.config.num_labels == 6


def test_the_models_own_loss_is_of_the_classes():
    """Labels of 2 classes against 6 outputs would train the first two pseudo-classes alone."""
    torch.manual_seed(0)
    config = transformers.BertConfig(**{k: v for k, v in BERT.items() if k != "type"}, num_labels=6)
    model = SubclassModel(transformers.AutoModelForSequenceClassification.from_config(config).eval(), 3)
    batch = {"input_ids": torch.randint(1, 300, (4, 5)), "labels": torch.tensor([0, 1, 1, 0])}
    form = model.data_preprocessor(batch)
    with torch.no_grad():
        logits = model(form["inputs"])
        loss = model(**form, mode="loss")["loss_task"]
    wanted = torch.nn.functional.cross_entropy(marginal_logits(logits, 3), batch["labels"])
    torch.testing.assert_close(loss, wanted)
    assert model(form["inputs"], mode="loss") == {}
    assert model(**form, mode="predict")[0]["pred_score"].shape == (2,)
