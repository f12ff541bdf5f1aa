"""`TorchModel` alone: every batch, result and mode, and what it refuses."""

import copy
from collections import UserDict, namedtuple

import pytest
import torch
from hypothesis import given, settings, strategies as st
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from plain_nets import Perceptron, TwoTower
from torch import nn
from torch.nn import functional

import kdhub
from kdhub import TorchModel, UsageError
from kdhub.distill.outline import outline

CRITERION = {"type": "torch.nn.CrossEntropyLoss"}
X = torch.randn(4, 2, generator=torch.Generator().manual_seed(3))
Y = torch.tensor([0, 1, 1, 0])
Pair = namedtuple("Pair", "points sides")

FORMS = {
    "tuple": (X, Y),
    "list that default_collate makes": [X, Y],
    "lists that pseudo_collate makes": [list(X), Y.tolist()],
    "numpy arrays": [list(X.numpy()), list(Y.numpy())],
    "named tuple": Pair(X, Y),
    "inputs and labels": {"inputs": X, "labels": Y},
    "inputs and target": {"inputs": list(X), "target": Y.tolist()},
    "the net's keyword": {"x": X, "labels": Y},
    "a keyword of another name": {"pixel_values": X, "label": Y},
    "a mapping that is no dict": UserDict({"pixel_values": X, "labels": Y}),
    "data samples": {"inputs": list(X), "data_samples": [BaseDataElement(gt_label=y.reshape(1)) for y in Y]},
    "data samples that are labels": {"inputs": list(X), "data_samples": Y.tolist()},
}


def model(**options):
    torch.manual_seed(0)
    return TorchModel({"type": "plain_nets.Perceptron"}, **{"criterion": CRITERION, **options})


def run(model, batch, mode):
    return model._run_forward(model.data_preprocessor(batch, False), mode=mode)


@pytest.mark.parametrize("batch", FORMS.values(), ids=FORMS)
def test_every_form_of_batch_means_the_same(batch):
    """A form in which inputs or labels are mistaken would train on something else, or not at all."""
    ours = model()
    form = ours.data_preprocessor(batch, True)
    assert form.keys() == {"inputs", "labels"}
    logits = ours.net(X)
    assert run(ours, batch, "tensor").equal(logits)
    losses = run(ours, batch, "loss")
    assert losses.keys() == {"loss_task"}
    assert losses["loss_task"].item() == pytest.approx(-logits.log_softmax(1)[range(4), Y].mean().item())
    said = run(ours, batch, "predict")
    assert [sample["gt_label"].tolist() for sample in said] == [[0], [1], [1], [0]]
    assert torch.stack([sample["pred_score"] for sample in said]).equal(logits)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.sampled_from(["tuple", "dict", "lists", "sequence"]), st.booleans())
def test_any_number_of_samples_keeps_its_labels(size, form, floats):
    """A batch of one sample, or labels that are no classes, must not be taken for another kind of batch."""
    x = torch.arange(2.0 * size).reshape(size, 2)
    y = torch.arange(size).float() / 2 if floats else torch.arange(size)
    batch = {"tuple": (x, y), "dict": {"inputs": x, "target": y}, "lists": [list(x), y.tolist()], "sequence": [x, y]}[
        form
    ]
    found = model().data_preprocessor(batch, True)
    assert found["inputs"].equal(x)
    assert found["labels"].tolist() == y.tolist()


def test_without_labels_it_predicts_and_has_no_loss():
    """Unlabelled data are what distillation is often done on: the model must run, and the criterion must complain."""
    ours = model()
    assert [set(sample) for sample in run(ours, (X,), "predict")] == [{"pred_score"}] * 4
    assert run(ours, X, "tensor").shape == (4, 2)
    assert run(model(criterion=None), X, "loss") == {}
    with pytest.raises(UsageError, match=r"TorchModel\.labels: the criterion needs labels"):
        run(ours, {"inputs": X}, "loss")


def test_alone_and_without_a_loss_it_is_refused():
    """A sum of no losses is 0, and training would end in a traceback of the optimizer."""
    ours = model(criterion=None)
    with pytest.raises(UsageError, match=r"no loss of its own.*CrossEntropyLoss"):
        ours.train_step((X, Y), OptimWrapper(torch.optim.SGD(ours.parameters(), lr=0.1)))


def test_places_can_be_named():
    """Data of more parts than two have no order that could be guessed."""
    ours = TorchModel({"type": "plain_nets.TwoTower"}, criterion=CRITERION, output="scores")
    want = ours.net(X, X + 1)["scores"]
    named = copy.deepcopy(ours)
    for batch, inputs, labels in (
        ((X, "a name", X + 1, Y), {"left": 0, "right": 2}, 3),
        ({"a": {"b": X}, "c": X + 1, "d": Y}, {"left": "a.b", "right": "c"}, "d"),
    ):
        named.data_preprocessor.inputs, named.data_preprocessor.labels = inputs, labels
        assert run(named, batch, "tensor").equal(want)
        assert run(named, batch, "loss")["loss_task"].item() == pytest.approx(functional.cross_entropy(want, Y).item())
    assert run(ours, {"left": X, "right": X + 1, "labels": Y, "index": Y}, "tensor").shape == (4, 3)


def test_objectives_get_other_fields_and_the_net_does_not():
    """A loss that remembers samples needs their places; a net that got them would fail on an unknown keyword."""
    ours = model(fields=["index"])
    batch = {"pixel_values": X, "labels": Y, "index": torch.arange(4)}
    assert ours.data_preprocessor(batch, True)["index"].tolist() == [0, 1, 2, 3]
    assert run(ours, batch, "tensor").equal(ours.net(X))
    assert run(ours, batch, "loss").keys() == {"loss_task"}
    assert "index" not in ours.data_preprocessor((X, Y), False)  # as in validation
    with pytest.raises(UsageError, match="a field of this name is there already"):
        model(fields=["labels"])


def test_a_net_that_computes_its_loss_is_asked_for_it():
    """Models of transformers bring their loss along; a second one beside it would be another training."""
    ours = TorchModel(TwoTower(), output="scores")
    batch = {"left": X, "right": X, "labels": Y}
    want = functional.cross_entropy(ours.net(X, X)["scores"], Y)
    assert run(ours, batch, "loss")["loss_task"].item() == pytest.approx(want.item())
    assert run(ours, {"left": X, "right": X}, "loss") == {}
    with pytest.raises(UsageError, match=r"TorchModel\.output: .*no 'logits'.*got dict\(scores="):
        run(TorchModel(TwoTower()), batch, "predict")


@pytest.mark.parametrize(
    ("result", "output"),
    [
        (lambda x: x, None),
        (lambda x: (x, x + 1), None),
        (lambda x: (x + 1, x), 1),
        (lambda x: {"out": x, "aux": x + 1}, None),
        (lambda x: {"logits": x}, None),
        (lambda x: namedtuple("Outputs", "aux logits")(x + 1, x), None),
        (lambda x: BaseDataElement(found=x), "found"),
    ],
)
def test_every_result_has_one_output(result, output):
    """Libraries wrap their logits in tuples, dicts and classes; a loss on the wrong part trains the wrong head."""

    class Net(nn.Module):
        def forward(self, x):
            return result(x)

    assert run(TorchModel(Net(), output=output), X, "tensor").equal(X)


def test_preprocessing_sees_the_batch_on_its_way():
    """Images that reach the net without the normalisation that the config asks for train a worse model in silence."""
    norm = {"type": "ImgDataPreprocessor", "mean": [1.0, 2.0, 3.0], "std": [2.0, 2.0, 2.0]}
    ours = TorchModel({"type": "torch.nn.Flatten"}, data_preprocessor=norm)
    images = torch.rand(2, 3, 4, 4)
    want = (images - torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)) / 2
    for batch in ((images, Y[:2]), [list(images), [0, 1]], {"inputs": images, "labels": Y[:2]}):
        found = ours.data_preprocessor(batch, True)
        assert found["inputs"].equal(want)
        assert found["labels"].tolist() == [0, 1]


def test_batch_augmentation_of_the_preprocessor_is_seen():
    """Stored and raw-reading teachers are refused beside a student that mixes images; hidden, mixing would not be seen."""
    own = TorchModel({"type": "torch.nn.Flatten"}).data_preprocessor.preprocessor
    own.batch_augments = "mixup"
    ours = TorchModel({"type": "torch.nn.Flatten"}, data_preprocessor=own)
    assert ours.data_preprocessor.batch_augments == "mixup"
    ours.data_preprocessor.batch_augments = None
    assert own.batch_augments is None


def test_batches_follow_the_model_to_its_device():
    """A batch that stays on the CPU stops the first step on a GPU; `meta` is a device that every machine has."""
    ours = model().to("meta")
    form = ours.data_preprocessor({"inputs": list(X), "labels": Y.tolist()}, True)
    assert {value.device.type for value in form.values()} == {"meta"}


def test_weights_that_the_net_was_built_with_stay():
    """The runner calls `init_weights` of every child, which in timm and others throws pretrained weights away."""
    net = Perceptron()
    before = copy.deepcopy(net.state_dict())
    student = TorchModel(net)
    MODELS.build({"type": "kdhub.Distiller", "student": student, "objectives": {}}).init_weights()
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())


def test_probe_shows_the_paths_of_the_net():
    """What `kdhub probe` prints must be what a tap takes, also where net and wrapper have a child of one name."""
    ours = model()
    rows = {row.path: row for row in outline(ours, lambda: run(ours, (X, Y), "loss"))}
    assert set(rows) == {"", "net", "dropout", "head"}
    assert rows[""].type == "Perceptron"
    assert rows["net"].outputs == ["(4, 4) float32"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"net": "torch.nn.Linear"}, r"TorchModel\.net: not a model .* -> dict\(type='torch.nn.Linear'\)"),
        ({"net": {"type": "torch.nn.Linear", "in_features": 2}}, r"TorchModel\.net: .* needs 'out_features'"),
        ({"net": {"type": "torch.nn.Lineal"}}, r"'torch.nn' has no 'Lineal'.*did you mean 'torch.nn.Linear'"),
        ({"net": {"type": "torchh.nn.Linear"}}, r"No module named 'torchh'"),
        ({"net": {"type": "plain_nets.Perceptrom"}}, r"did you mean 'plain_nets.Perceptron'"),
        ({"net": {"type": "plain_nets.Perceptron", "widht": 3}}, r"takes no 'widht'.*did you mean 'width'"),
        ({"net": {"type": "collections.OrderedDict"}}, r"TorchModel\.net: not a module .*got OrderedDict"),
        (
            {"net": {"type": "torchvision.models.detection.ssdlite320_mobilenet_v3_large", "weights_backbone": None}},
            r"TorchModel\.net: a detection net .*got SSD.* -> write a mmengine\.model\.BaseModel",
        ),
        ({"net": {"type": "torch.nn.ReLU"}, "init_cfg": {"type": "Xavier"}}, r"TorchModel\.init_cfg"),
        ({"net": {"type": "torch.nn.ReLU"}, "criterion": {"type": "torch.nn.CrossEntropyLos"}}, "CrossEntropyLoss"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(options, message):
    """A mistake in a config that ends in the traceback of another library is looked for in the wrong place."""
    with pytest.raises(UsageError, match=message):
        TorchModel(**options)


def test_a_keyword_that_a_function_hands_on_has_a_near_match():
    """Torchvision's functions take any keyword and hand it on, so the class that refuses it must be asked for its own."""
    pytest.importorskip("torchvision")
    with pytest.raises(UsageError, match=r"TorchModel\.net.*'num_clases'.*did you mean 'num_classes'"):
        TorchModel({"type": "torchvision.models.resnet18", "num_clases": 10})


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((X, X, Y), r"TorchModel\.inputs: the batch has 3 parts.*labels=2"),
        ({"left": X, "right": X, "labels": Y}, r"TorchModel\.inputs: .*expected one of x.*got left, right, labels"),
        ({"labels": Y}, r"TorchModel\.inputs"),
        ((X, Y[:3]), r"answers for 4 samples, and there are 3 labels"),
    ],
)
def test_batches_in_which_nothing_is_found_are_refused(batch, message):
    """A guess here would train on the wrong tensor."""
    with pytest.raises(UsageError, match=message):
        run(model(), batch, "predict")


def test_images_that_are_no_tensors_are_refused():
    """The data sets of torchvision give PIL images until somebody asks for tensors."""
    image = pytest.importorskip("PIL.Image").new("RGB", (4, 4))
    with pytest.raises(UsageError, match=r"no tensors.*ToTensor"):
        model().data_preprocessor(([image, image], [0, 1]), True)


def test_nested_configs_are_built_and_foreign_dicts_left():
    """Arguments may be objects; a library's own dicts with a 'type' in them, and plain ones, must arrive as plain dicts."""
    from mmengine.config import ConfigDict

    net = ConfigDict(
        type="torch.nn.TransformerEncoder",
        encoder_layer={"type": "torch.nn.TransformerEncoderLayer", "d_model": 4, "nhead": 2, "batch_first": True},
        num_layers=1,
    )
    assert TorchModel(net).net.layers[0].self_attn.embed_dim == 4

    def keep(**given):
        module = nn.Identity()
        module.given = given
        return module

    rope = {"type": "linear", "factor": [1, {"a": 2}]}
    given = TorchModel(ConfigDict(type=keep, rope=rope, layers=[{"type": nn.ReLU}])).net.given
    assert given["rope"] == rope
    assert type(given["rope"]) is dict
    assert isinstance(given["layers"][0], nn.ReLU)


def test_nets_come_as_objects_too():
    """New-style configs hold classes and functions, and code holds modules."""
    assert isinstance(TorchModel(nn.ReLU).net, nn.ReLU)
    assert isinstance(TorchModel(nn.ReLU()).net, nn.ReLU)
    assert isinstance(TorchModel({"type": nn.Linear, "in_features": 2, "out_features": 3}).net, nn.Linear)
    assert kdhub.TorchModel is TorchModel


def test_a_tokenizer_batch_goes_into_a_model_of_transformers():
    """Batches of transformers are mappings that are no dicts, and its models compute the loss from the labels in them."""
    transformers = pytest.importorskip("transformers")
    config = {"type": "transformers.BertConfig", "vocab_size": 9, "hidden_size": 4, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 1, "intermediate_size": 4, "num_labels": 3}
    ours = TorchModel({"type": "transformers.BertForSequenceClassification", "config": config}).eval()
    ids = torch.tensor([[1, 2, 0], [3, 4, 5]])
    batch = transformers.BatchEncoding(
        {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": torch.tensor([2, 0]), "index": ids}
    )
    logits = ours.net(ids, attention_mask=(ids > 0).long()).logits
    assert logits.shape == (2, 3)
    assert run(ours, batch, "tensor").equal(logits)
    want = functional.cross_entropy(logits, torch.tensor([2, 0])).item()
    assert run(ours, batch, "loss")["loss_task"].item() == pytest.approx(want)
    assert [sample["gt_label"].tolist() for sample in run(ours, batch, "predict")] == [[2], [0]]
    ours.criterion = nn.CrossEntropyLoss()
    assert run(ours, batch, "loss")["loss_task"].item() == pytest.approx(want)


def test_samples_of_several_keywords_are_stacked_inside_their_dict():
    """The default collate function of mmengine leaves lists inside the dict, and transformers answered "'list' has no 'size'"."""

    class Sums(nn.Module):
        def forward(self, left, right):
            return left + right

    batch = pseudo_collate([({"left": torch.ones(2), "right": torch.ones(2)}, 1) for _ in range(3)])
    assert run(TorchModel(net=Sums()), batch, "tensor").tolist() == [[2.0, 2.0]] * 3


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (
            torch.zeros(2, 2),
            torch.tensor([0.0, 1.0]),
            r"TorchModel\.criterion: RuntimeError: .*labels \(2,\) float32.*int64",
        ),
        (torch.zeros(2, 2), torch.tensor([[0], [1]]), r"TorchModel\.criterion: RuntimeError: .*labels \(2, 1\) int64"),
        (torch.zeros(2, 2).double(), torch.tensor([0, 1]), r"TorchModel\.inputs: .*\(2, 2\) float64.*give float32"),
    ],
)
def test_numbers_of_the_wrong_kind_are_one_line(inputs, labels, message):
    """Labels that a criterion does not take, and float64 out of numpy, ended in 40 lines of torch's."""
    with pytest.raises(UsageError, match=message):
        run(TorchModel(net=Perceptron(), criterion={"type": "torch.nn.CrossEntropyLoss"}), (inputs, labels), "loss")
