"""Exit branches and the second head: what they turn into logits, what they refuse, and that no export holds them."""

import pytest
import timm
import torch
from mmengine.registry import MODELS

from kdcls.exits import AuxiliaryHead, ConvExit, TokenExit
from kdhub.api import UsageError, init
from kdhub.testing import assert_adapter_contract


@pytest.mark.parametrize("halvings", [0, 1, 3])
def test_a_convolutional_exit_keeps_the_contract(halvings):
    """An adapter that reads the teacher's numbers would let the student stand still."""
    arguments = {"in_channels": 4, "width": 16, "num_classes": 5, "halvings": halvings}
    assert_adapter_contract(ConvExit, value=(2, 4, 16, 16), like=(2, 5), arguments=arguments)


def test_channels_double_and_the_map_halves():
    """The card's branch: a first stage goes through three blocks, and its cost stays small as the map shrinks."""
    exit1 = ConvExit(64, 512, 1000, halvings=3)
    maps = torch.randn(2, 64, 56, 56)
    shapes = [tuple(maps.shape)] + [tuple((maps := block(maps)).shape) for block in exit1.features]
    assert shapes == [(2, 64, 56, 56), (2, 128, 28, 28), (2, 256, 14, 14), (2, 512, 7, 7)]
    assert ConvExit(512, 512, 10)(torch.randn(1, 512, 7, 7), None).shape == (1, 10)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ({"dim": 8, "grid": 14, "prefix_tokens": 1, "merges": 1}, (2, 197, 8)),
        ({"dim": 8, "grid": 14, "merges": 1, "blocks": 3}, (2, 196, 8)),
        ({"dim": 8, "grid": 56, "merges": 3, "width": 16}, (2, 56, 56, 8)),
        ({"dim": 8, "grid": 7, "merges": 0}, (2, 49, 8)),
    ],
    ids=["vit", "mixer", "swin", "last"],
)
def test_a_token_exit_keeps_the_contract(arguments, value):
    """Class tokens, plain patches and Swin's grids are three layouts of one idea."""
    assert_adapter_contract(TokenExit, value=value, like=(2, 5), arguments={"num_classes": 5, **arguments})


def test_merging_joins_neighbours_of_the_image():
    """Four tokens in a row are no square: the merge would mix the ends of two lines."""
    exit_ = TokenExit(4, 5, grid=4, merges=1)
    patches = torch.arange(16.0).view(1, 16, 1).expand(1, 16, 4)
    seen = []
    exit_.merging[0].norm.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    exit_(patches, None)
    assert seen[0][0, :, ::4].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid": 7, "merges": 1}, "cannot be halved"),
        ({"grid": 14, "width": 16, "prefix_tokens": 1}, "changes the width"),
        ({"grid": 14, "width": 16, "merges": 0}, "changes the width"),
        ({"grid": 14, "heads": 3}, "divide the width"),
    ],
)
def test_grids_and_widths_that_do_not_go_together_are_refused(arguments, message):
    """A shape error from inside attention would name none of these."""
    with pytest.raises(UsageError, match=message):
        TokenExit(8, 5, **arguments)


@pytest.mark.parametrize(
    ("adapter", "value"),
    [
        (ConvExit(4, 8, 5), (2, 5, 3, 3)),
        (ConvExit(4, 8, 5), (2, 49, 4)),
        (TokenExit(8, 5, 7, merges=0), (2, 50, 8)),
        (AuxiliaryHead(4, 5), (2, 8)),
    ],
)
def test_features_of_another_shape_are_refused(adapter, value):
    """The tap is the most likely mistake, and the error says what to tap."""
    with pytest.raises(UsageError, match=r"reads .*expected"):
        adapter(torch.zeros(value), None)


@pytest.mark.parametrize("hidden", [None, 6])
def test_the_second_head_keeps_the_contract(hidden):
    """Dropout is left out here: the contract compares two passes."""
    arguments = {"in_features": 4, "num_classes": 5, "hidden": hidden, "dropout": 0.0}
    assert_adapter_contract(AuxiliaryHead, value=(3, 4), like=(3, 5), arguments=arguments)


def test_the_second_head_refuses_a_batch_of_one_in_training():
    """Torch says 'Expected more than 1 value per channel', and the last batch of an epoch is where it says so."""
    head = AuxiliaryHead(4, 5, hidden=6)
    with pytest.raises(UsageError, match="batch of one"):
        head(torch.zeros(1, 4), None)
    head.eval()
    assert head(torch.zeros(1, 4, 1, 1), None).shape == (1, 5)


def ofa(student, teacher, taps, logits):
    """A distiller with an objective on the logits and one on each stage."""
    init()
    built = [{"type": "kdhub.TorchModel", "net": {"type": "timm.create_model", **net}} for net in (student, teacher)]
    objectives = {
        f"exit{number}": {
            "loss": {"type": "kdcls.OFAKD"},
            "student": path,
            "teacher": logits[1],
            "adapter": {**adapter, "num_classes": 6},
        }
        for number, (path, adapter) in enumerate(taps.items())
    }
    objectives["logits"] = {"loss": {"type": "kdcls.OFAKD"}, "student": logits[0], "teacher": logits[1]}
    return MODELS.build(
        {
            "type": "kdhub.Distiller",
            "student": {**built[0], "criterion": {"type": "torch.nn.CrossEntropyLoss"}},
            "teacher": {"type": "kdhub.ModelTeacher", "model": built[1], "own_weights": True},
            "objectives": objectives,
        }
    )


def step(model, size=64):
    batch = {"inputs": torch.randn(2, 3, size, size), "labels": torch.tensor([0, 5])}
    return model(**model.data_preprocessor(batch, training=True), mode="loss")


RESNET = {"model_name": "resnet10t", "num_classes": 6}
VIT = {
    "model_name": "vit_tiny_patch16_224",
    "num_classes": 6,
    "img_size": 64,
    "patch_size": 16,
    "depth": 4,
    "embed_dim": 16,
    "num_heads": 2,
}
MIXER = {"model_name": "mixer_s16_224", "num_classes": 6, "img_size": 64}
CONV_TAPS = {
    "layer1": {"type": "kdcls.ConvExit", "in_channels": 64, "width": 32, "halvings": 3},
    "layer4": {"type": "kdcls.ConvExit", "in_channels": 512, "width": 32, "halvings": 0},
}
TOKEN_TAPS = {
    "blocks.0": {"type": "kdcls.TokenExit", "dim": 16, "grid": 4, "prefix_tokens": 1, "blocks": 1},
    "blocks.3": {"type": "kdcls.TokenExit", "dim": 16, "grid": 4, "prefix_tokens": 1, "merges": 0},
}
PATCH_TAPS = {"blocks.7": {"type": "kdcls.TokenExit", "dim": 512, "grid": 4}}


@pytest.mark.parametrize(
    ("student", "teacher", "taps", "logits"),
    [
        (RESNET, VIT, CONV_TAPS, ("fc", "head")),
        (RESNET, MIXER, CONV_TAPS, ("fc", "head")),
        (VIT, RESNET, TOKEN_TAPS, ("head", "fc")),
        (VIT, MIXER, TOKEN_TAPS, ("head", "head")),
        (MIXER, RESNET, PATCH_TAPS, ("head", "fc")),
        (MIXER, VIT, PATCH_TAPS, ("head", "head")),
    ],
    ids=lambda one: one.get("model_name") if isinstance(one, dict) else None,
)
def test_any_family_teaches_any_other(student, teacher, taps, logits):
    """The method is for pairs whose features have nothing in common; each of the six must step."""
    model = ofa(student, teacher, taps, logits)
    found = step(model)
    sum(found.values()).backward()
    assert all(found[f"loss_exit{number}"] > 0 for number in range(len(taps)))
    assert all(one.grad is not None and one.grad.any() for one in model.objectives.parameters())


def test_each_branch_learns_from_its_own_term_and_stops_at_its_stage():
    """An early branch that trained later stages would be another method; its own weights must not hear other terms."""
    model = ofa(RESNET, VIT, CONV_TAPS, ("fc", "head"))
    step(model)["loss_exit0"].backward()
    net = model.student.net
    assert all(one.grad is None for one in [*net.layer2.parameters(), *net.fc.parameters()])
    assert all(one.grad is None for one in model.objectives["exit1"].parameters())
    assert all(one.grad is not None for one in [*net.layer1.parameters(), *model.objectives["exit0"].parameters()])
    assert all(one.grad is None for one in model.teachers["teacher"].model.parameters())


def test_the_student_without_its_branches_answers_the_same():
    """What is thrown away after training must have no part in the answers."""
    model = ofa(RESNET, VIT, CONV_TAPS, ("fc", "head"))
    step(model)
    model.eval()
    images = torch.randn(2, 3, 64, 64)
    alone = timm.create_model(**RESNET)
    alone.load_state_dict({name.removeprefix("net."): one for name, one in model.student.state_dict().items()})
    with torch.no_grad():
        assert torch.equal(alone.eval()(images), model.student.net(images))
