"""The check of what `TorchModel` and `TorchDataset` import by name: nothing is imported for it."""

import importlib
from importlib.util import find_spec

import pytest

import kdhub
from kdhub.config import check_config
from kdhub.config.types import source
from kdhub.config.types.names import missing_name
from kdhub.config.types.signature import signature
from kdhub.plugins import modules


def findings(model, **config):
    report = check_config({"model": model, **config}, kdhub.init())
    return [finding for finding in report.findings if finding.path.startswith(("model.", "train_dataloader.dataset"))]


def of_net(**options):
    return findings({"type": "kdhub.TorchModel", **options})


LINEAR = {"type": "torch.nn.Linear", "in_features": 2, "out_features": 2}


@pytest.mark.parametrize(
    ("options", "level", "path", "near"),
    [
        ({"net": {**LINEAR, "bais": True}}, "error", "net.bais", "bias"),
        ({"net": {"type": "torch.nn.Linear"}}, "error", "net", ""),
        ({"net": {"type": "torch.utils.data.TensorDatase"}}, "error", "net.type", "torch.utils.data.TensorDataset"),
        ({"net": {"type": "torch.nn.modules.liner.Linear"}}, "error", "net.type", "torch.nn.modules.linear"),
        ({"net": {"type": "nosuchpackage.Net"}}, "error", "net.type", ""),
        ({"net": "torch.nn.ReLU"}, "error", "net", ""),
        ({"net": {"num_classes": 3}}, "error", "net", ""),
        ({"net": LINEAR, "criterion": {"type": "torch.nn.CrossEntropyLoss", "wieght": 1}}, "error", "", "weight"),
        ({"net": LINEAR, "criterion": "CrossEntropyLoss"}, "error", "criterion", ""),
        ({"net": LINEAR, "citerion": None}, "error", "citerion", "criterion"),
        ({"net": LINEAR, "data_preprocessor": {"type": "ImgDataPreprocessor", "maen": 1}}, "error", "", "mean"),
    ],
)
def test_mistakes_are_found_before_anything_is_built(options, level, path, near):
    """A mistake that shows after torch, the data and the teacher are loaded costs minutes."""
    found = of_net(**options)
    assert [finding for finding in found if finding.level == level and finding.path.startswith(f"model.{path}")]
    assert not near or near in [one for finding in found for one in finding.near]


@pytest.mark.parametrize(
    "options",
    [
        {"net": LINEAR, "criterion": None},
        {"net": LINEAR, "criterion": {"type": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.1}, "labels": 1},
        {"net": {"type": "torch.nn.Sequential"}, "inputs": {"left": "a.b"}, "output": "logits"},
    ],
)
def test_right_configs_have_no_findings(options):
    """A false error keeps a right config from training."""
    assert of_net(**options) == []


def test_students_teachers_and_data_are_checked_alike():
    """The teacher's net and the arguments of a data set are as easily misspelt as the student's."""
    wrong = {"type": "kdhub.TorchModel", "net": {**LINEAR, "bais": True}}
    model = {"type": "kdhub.Distiller", "student": wrong, "objectives": {}}
    model["teacher"] = {"type": "kdhub.ModelTeacher", "model": wrong}
    data = {"type": "kdhub.TorchDataset", "data": {"type": "torch.utils.data.Subset", "dataset": [], "indexes": []}}
    found = findings(model, train_dataloader={"dataset": data})
    paths = {finding.path for finding in found if finding.level == "error"}
    assert paths >= {
        "model.student.net.bais",
        "model.teacher.model.net.bais",
        "train_dataloader.dataset.data.indexes",
    }


LIBRARY = {
    "__init__.py": "from .nets import *\nfrom .nets import small as tiny\n",
    "nets.py": """
class Net:
    def __init__(self, layers, classes=10, *, norm=None):
        pass


def _make(layers, pretrained, **kwargs):
    return Net(layers, **kwargs)


def small(*, pretrained=False, **kwargs):
    return _make([1, 2], pretrained, **kwargs)


def endless(a=1, **kwargs):
    return endless(a, **kwargs)


def given(**kwargs):
    return Net([1], classes=3, **kwargs)


class Made:
    @classmethod
    def build(cls, **kwargs):
        return cls()
""",
    "dynamic.py": "globals()['Late'] = 3\n",
    "starred.py": "from .dynamic import *\n",
}


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Put a package of nets on the path."""
    (tmp_path / "kdnets").mkdir()
    for name, text in LIBRARY.items():
        (tmp_path / "kdnets" / name).write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_function_that_hands_on_keywords_takes_those_of_the_class(library):
    """Torchvision's models say `**kwargs`; without this `num_clases` would be noticed when the net is built."""
    found = signature("kdnets.tiny")
    assert found.names == ("pretrained", "classes", "norm")
    assert found.open
    assert found.required == ()
    assert signature("kdnets.given").names == ("norm",)
    assert signature("kdnets.endless").names == ("a",)
    (finding,) = of_net(net={"type": "kdnets.tiny", "clases": 3})
    assert (finding.level, finding.path, finding.near) == ("warning", "model.net.clases", ("classes",))
    assert of_net(net={"type": "kdnets.tiny", "classes": 3, "anything": 4}) == []


def test_names_that_are_not_there_are_known_from_source(library):
    """What the source cannot tell must pass: a false error is worse than a late one."""
    assert missing_name("kdnets.smal")[:2] == ("kdnets", "smal")
    assert missing_name("kdnets.nets.Nett")[:2] == ("kdnets.nets", "Nett")
    for path in ("kdnets.tiny", "kdnets.nets", "kdnets.Made.build", "kdnets.dynamic.Late", "kdnets.starred.Late"):
        assert missing_name(path) is None, path
    assert missing_name("no_such_package.Name") is None


@pytest.mark.parametrize(
    ("path", "some"),
    [
        ("torchvision.models.resnet18", {"num_classes", "weights"}),
        ("transformers.BertConfig", {"hidden_size", "id2label"}),
    ],
)
@pytest.mark.parametrize("imported", [False, True])
def test_the_libraries_that_people_use_are_read(path, some, imported):
    """A package made for this test may be written otherwise than the real ones, which also change when they are imported."""
    package = path.partition(".")[0]
    if find_spec(package) is None:
        pytest.skip("it is not installed")
    if imported:
        importlib.import_module(package)
        modules._found.cache_clear()
    found = signature(path)
    assert some <= set(found.names)
    assert found.open


def test_a_name_that_is_not_there_is_not_looked_for_in_every_file(library, tmp_path, monkeypatch):
    """`transformers.BertModell` took minutes: each of a thousand files that says the word ``model`` was parsed for it."""
    folder = tmp_path / "kdhuge"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .speaks import *\nfrom .gives import *\n", encoding="utf-8")
    (folder / "speaks.py").write_text("def run(model):\n    model = model.eval()\n", encoding="utf-8")
    (folder / "gives.py").write_text("from .nets import (  # a note (here)\n    Net as model,\n)\n", encoding="utf-8")
    (folder / "nets.py").write_text("class Net:\n    def build(self, width):\n        pass\n", encoding="utf-8")
    read = set()
    monkeypatch.setattr(source, "parse", lambda file, parse=source.parse: read.add(file.name) or parse(file))
    assert signature("kdhuge.model.Nett") is None
    assert "speaks.py" not in read
    found = source.locate("kdhuge.model.build")
    assert (found.module, found.node.name) == ("kdhuge.nets", "build")
