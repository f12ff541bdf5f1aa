"""`TorchModel` in runs: taps, batches of objectives, exported files, checkpoints, teachers, resume, averaged weights."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from plain_nets import Perceptron, Points, config
from safetensors.torch import load_file, save_file
from torch.utils.data import default_collate

import kdhub
from kdhub import ModelTeacher, TorchDataset, TorchModel, UsageError
from kdhub.engine.test import test as evaluate
from kdhub.engine.train import train
from kdhub.testing import assert_resume_exact

LABELLED = {"type": "plain_nets.LabelledMSE"}
BATCH = default_collate([Points()[index] for index in range(4)])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Train once, with averaged weights."""
    averaged = {"custom_hooks": [{"type": "EMAHook", "momentum": 0.5}]}
    cfg = Config(config(tmp_path_factory.mktemp("torch_runs") / "run", **averaged))
    return cfg, train(cfg)


def weights_of(checkpoint, key="state_dict"):
    return torch.load(checkpoint, weights_only=False)[key]


def test_the_exported_student_loads_into_the_bare_net(run):
    """The reason for distilling is a file that works without any of this; a prefix in it makes it useless."""
    cfg, result = run
    exported = load_file(result.student_path / "model.safetensors")
    net = Perceptron()
    net.load_state_dict(exported)
    averaged = weights_of(result.work_dir / "iter_6.pth")
    assert net.head.weight.equal(averaged["student.net.head.weight"])
    assert cfg.model.student.net == Config.fromfile(result.student_path / "model.py").model.net
    assert (
        kdhub.engine.workdir.run_card.RunCard.read(result.work_dir).content["models"]["student"]["type"] == "Perceptron"
    )


def test_testing_takes_the_checkpoint_and_the_exported_student(run):
    """Both are what a user has in hand after a run, and both are the student that was measured last."""
    cfg, result = run
    files = (result.work_dir / "iter_6.pth", result.student_path / "model.safetensors")
    assert [evaluate(cfg, file) for file in files] == [dict(result.metrics)] * 2


@pytest.mark.parametrize("kind", ["state dict", "safetensors", "checkpoint", "own checkpoint", "exported"])
def test_a_teacher_takes_weights_in_the_names_of_the_net(kind, run, tmp_path):
    """Torchvision's .pth, timm's safetensors and one's own checkpoints all have other prefixes than the wrapper's."""
    _, result = run
    net = Perceptron()
    file = tmp_path / "teacher.pth"
    if kind == "state dict":
        torch.save(net.state_dict(), file)
    elif kind == "safetensors":
        file = tmp_path / "teacher.safetensors"
        save_file(net.state_dict(), file)
    elif kind == "checkpoint":
        torch.save({"model": {f"module.{name}": value for name, value in net.state_dict().items()}}, file)
    else:
        exported = result.student_path / "model.safetensors"
        net.load_state_dict(load_file(exported))
        file = exported if kind == "exported" else result.work_dir / "iter_6.pth"
    if kind == "own checkpoint":  # the teacher's own run, not a distiller's
        torch.save({"state_dict": TorchModel(net).state_dict()}, tmp_path / "alone.pth")
        file = tmp_path / "alone.pth"
    teacher = ModelTeacher({"type": "kdhub.TorchModel", "net": {"type": "plain_nets.Perceptron"}}, str(file))
    assert all(value.equal(net.state_dict()[name]) for name, value in teacher.model.net.state_dict().items())


def test_weights_of_another_net_are_refused(tmp_path):
    """A teacher that keeps random weights because no name fits teaches noise."""
    torch.save(Perceptron(width=9).state_dict(), tmp_path / "wide.pth")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    model = {"type": "kdhub.TorchModel", "net": {"type": "plain_nets.Perceptron"}}
    for file, message in (("wide.pth", "net.weight: .9, 2. in the file"), ("other.pth", "no weight of the file")):
        with pytest.raises(UsageError, match=message):
            ModelTeacher(model, str(tmp_path / file))


@pytest.mark.parametrize("name", ["net", "head", "dropout", ""])
def test_taps_name_the_modules_of_the_net(name):
    """`net.head` for `head` would tie every config to the wrapper, and be two things where the net has a child `net`."""
    part = {"type": "kdhub.ModuleOutput", "path": name}
    objectives = {"one": {"loss": {"type": "kdhub.MSE"}, "student": part, "teacher": part}}
    cfg = config("")["model"]
    cfg["teacher"]["model"]["net"]["width"] = 4
    model = MODELS.build({**cfg, "objectives": objectives})
    model.eval()
    data = model.data_preprocessor(BATCH, False)
    losses = model(**data, mode="loss")
    ours, theirs = model.student.net, model.teachers["teacher"].model.net
    pick = (lambda net: net) if not name else (lambda net: getattr(net, name))
    seen = []
    for net in (ours, theirs):
        handle = pick(net).register_forward_hook(lambda *hooked: seen.append(hooked[2]))
        net(BATCH[0])
        handle.remove()
    assert losses["loss_one"].item() == pytest.approx((seen[0] - seen[1]).square().mean().item())


def test_a_path_of_the_wrapper_leads_nowhere():
    """Two paths for one module would make two configs of one experiment."""
    cfg = config("")["model"]
    objectives = {"one": {"loss": {"type": "kdhub.MSE"}, "student": "net.head", "teacher": "head"}}
    with pytest.raises(UsageError, match=r"objectives\.one\.student: no module or method 'net.head' in Perceptron"):
        MODELS.build({**cfg, "objectives": objectives})


@pytest.mark.parametrize("named", [False, True], ids=["tuples", "dicts"])
def test_a_loss_gets_the_labels_of_the_batch(named):
    """A loss that wants labels must not care in what form the data loader gives them."""
    objective = {"loss": LABELLED, "student": "head", "teacher": "head", "batch": {"labels": "labels"}}
    model = MODELS.build({**config("")["model"], "objectives": {"one": objective}})
    data = TorchDataset({"type": "plain_nets.Points"}, **({} if named else {"fields": None}))
    batch = default_collate([data[index] for index in range(4)])
    assert isinstance(batch, dict) == named
    losses = model(**model.data_preprocessor(batch, True), mode="loss")
    assert losses["loss_one"].item() > 0


def test_a_resumed_run_ends_as_the_unbroken_one(tmp_path):
    """Dropout, a criterion with weights of its own and averaged weights are all state that a checkpoint could lose."""
    cfg = Config(config(tmp_path, custom_hooks=[{"type": "EMAHook"}]))
    cfg.model.student.criterion.weight = {"type": "torch.ones", "size": [2]}
    assert_resume_exact(cfg, at=3, tmp_path=tmp_path)


def test_weights_to_start_from_have_the_names_of_the_net(tmp_path):
    """`load_from` is how a student starts from a file of its own library."""
    torch.manual_seed(5)
    net = Perceptron()
    torch.save(net.state_dict(), tmp_path / "start.pth")
    cfg = config(tmp_path / "run", load_from=str(tmp_path / "start.pth"))
    cfg["optim_wrapper"]["optimizer"]["lr"] = 0.0
    result = train(Config(cfg))
    assert load_file(result.student_path / "model.safetensors")["head.weight"].equal(net.head.weight)


def test_the_state_of_a_criterion_is_kept_and_not_exported(tmp_path):
    """A criterion may learn, so checkpoints need it; the net's own library knows nothing of it."""
    model = copy.deepcopy(config("")["model"]["student"])
    model["criterion"] = {"type": "torch.nn.CrossEntropyLoss", "weight": {"type": "torch.ones", "size": [2]}}
    built = TorchModel(**{key: value for key, value in model.items() if key != "type"})
    assert "criterion.weight" in built.state_dict()
    with kdhub.testing.isolated_plugins() as manager:
        manager.export_student(kdhub.inner.inner_of(built), tmp_path, {}, {})
    assert load_file(tmp_path / "model.safetensors").keys() == Perceptron().state_dict().keys()
