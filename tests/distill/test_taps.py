"""Taps read what the model computed, whatever it does to the tensor afterwards, and leave no trace on it."""

import copy

import pytest
import torch
from torch import nn

from kdhub.distill.paths import resolve, unwrap
from kdhub.distill.taps import MethodOutput, ModuleInput, ModuleOutput, make_tap, recording
from kdhub.errors import GuardError, UsageError
from kdhub.testing.toys import ToyEncoder, ToySegmentor, pair_batch


class Shared(nn.Module):
    """A head called three times, with a dict output."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 2)
        self.last = nn.Identity()

    def forward(self, value):
        outputs = [self.head(value * scale) for scale in (1.0, 2.0, 3.0)]
        return self.last({"first": outputs[0], "pair": (outputs[1], outputs[2])})


def read(tap, model, *args):
    with recording([tap], model):
        model(*args)
    return tap.read()


@pytest.mark.parametrize("inplace", [True, False])
def test_output_before_an_inplace_relu_is_what_the_convolution_gave(inplace):
    """A ReLU(inplace=True) behind the tap must not rewrite the recorded feature to non-negative values."""
    torch.manual_seed(0)
    model = ToySegmentor(inplace=inplace)
    image = torch.rand(1, 3, 8, 8)
    expected = model.backbone[0](image)
    tap = ModuleOutput("backbone.0")
    for _ in range(3):
        assert torch.equal(read(tap, model, image), expected)
    assert (expected < 0).any()
    assert tap._copies is inplace


def test_gradient_flows_through_a_copied_value():
    """Copying for protection must not cut the graph: the tapped layer would silently stop learning from the term."""
    model = ToySegmentor(inplace=True)
    read(ModuleOutput("backbone.0"), model, torch.rand(1, 3, 8, 8)).sum().backward()
    assert model.backbone[0].weight.grad.abs().sum() > 0


def test_a_rewrite_that_starts_later_is_an_error():
    """A model that turns in-place after the first forward must not feed rewritten values to the loss."""
    model = ToySegmentor(inplace=False)
    tap = ModuleOutput("backbone.0")
    read(tap, model, torch.rand(1, 3, 8, 8))
    model.backbone[1].inplace = True
    with pytest.raises(GuardError, match="overwritten in place"):
        read(tap, model, torch.rand(1, 3, 8, 8))


def test_several_calls_demand_a_choice():
    """A shared head read at a call that nobody chose would distil the wrong scale in silence."""
    with pytest.raises(UsageError, match="reached 3 times.*call=0"):
        read(ModuleOutput("head"), Shared(), torch.ones(1, 2))


@pytest.mark.parametrize(("call", "scales"), [(0, [1.0]), (-1, [3.0]), ("all", [1.0, 2.0, 3.0])])
def test_call_chooses(call, scales):
    """An index must give that call, 'all' every call in order."""
    model = Shared()
    value = torch.ones(1, 2)
    got = read(ModuleOutput("head", call=call), model, value)
    expected = [model.head(value * scale) for scale in scales]
    for ours, theirs in zip(got if call == "all" else [got], expected, strict=True):
        assert torch.equal(ours, theirs)


def test_cat_joins_calls_along_the_batch():
    """'cat' must give one batch of all calls, so that a column encoder's embeddings are one tensor."""
    assert read(ModuleOutput("head", call="cat"), Shared(), torch.ones(4, 2)).shape == (12, 2)


def test_call_out_of_range_is_an_error():
    """An index beyond the calls of a forward must not wrap around or give None."""
    with pytest.raises(UsageError, match="reached 3 times"):
        read(ModuleOutput("head", call=3), Shared(), torch.ones(1, 2))


@pytest.mark.parametrize("call", ["first", 1.5, True])
def test_bad_call_is_refused_at_once(call):
    """A misspelt call must fail when it is built, not after an epoch."""
    with pytest.raises(UsageError, match="bad call"):
        ModuleOutput("head", call=call)


def test_key_takes_an_entry_of_dicts_and_tuples():
    """Models that return dicts and tuples must be tappable without an edit."""
    model = Shared()
    value = torch.ones(1, 2)
    pair = read(ModuleOutput("last", key="pair"), model, value)
    assert torch.equal(pair[1], model.head(value * 3))
    with pytest.raises(UsageError, match="did you mean 'first'"):
        read(ModuleOutput("last", key="frist"), model, value)


def test_module_input_is_what_the_module_was_given():
    """A tap on an input must give the argument itself, not the module's output."""
    model = ToySegmentor()
    image = torch.rand(1, 3, 8, 8)
    assert torch.equal(read(ModuleInput("head"), model, image), model.backbone(image))


def test_method_output_is_read_and_the_method_restored():
    """Knowledge that only a method returns must be readable, and the model left exactly as it was."""
    model = ToyEncoder()
    before = dict(vars(model))
    tap = MethodOutput("score")
    assert read(tap, model, *pair_batch().values()).shape == (8, 8)
    assert vars(model) == before


def test_two_taps_on_one_method_both_read():
    """Two objectives on one method must not undo each other."""
    model = ToyEncoder()
    taps = [MethodOutput("embed", call="cat"), MethodOutput("embed", call=0)]
    with recording(taps, model):
        model(*pair_batch().values())
    assert [tuple(tap.read().shape) for tap in taps] == [(16, 6), (8, 6)]
    assert "embed" not in vars(model)


def test_taps_are_removed_when_the_forward_fails():
    """A forward that raises must not leave hooks behind that fire in later passes."""
    model = ToySegmentor()
    tap = ModuleOutput("head")
    with pytest.raises(RuntimeError), recording([tap], model):
        model(torch.rand(1, 4, 8, 8))
    assert not model.head._forward_hooks


def test_a_string_means_a_module_or_a_method_by_what_is_there():
    """The short form must pick the right tap, since a method has no forward hook and would never fire."""
    model = ToyEncoder()
    assert isinstance(make_tap("embed", model, "here"), MethodOutput)
    assert isinstance(make_tap("encoder.0", model, "here"), ModuleOutput)


@pytest.mark.parametrize(
    ("path", "near"), [("backbne.0", "backbone.0"), ("module.backbone", "backbone"), ("student.head", "head")]
)
def test_wrong_path_names_the_right_one(path, near):
    """A misspelt or prefixed path must say which path was meant instead of failing later."""
    with pytest.raises(UsageError, match=f"did you mean.*'{near}'"):
        make_tap(path, ToySegmentor(), "here")


def test_a_tap_that_never_fires_stops():
    """A term whose tap is never reached would be trained on nothing."""
    model = ToySegmentor()
    model.unused = nn.Linear(1, 1)
    with pytest.raises(GuardError, match="never fired"):
        read(ModuleOutput("unused"), model, torch.rand(1, 3, 8, 8))


def test_paths_are_resolved_on_the_unwrapped_model():
    """DDP and torch.compile prefix every path; a tap must mean the same module with and without them."""
    model = ToySegmentor()
    wrapped = torch.compile(model, backend="eager")
    assert unwrap(wrapped) is model
    assert resolve(wrapped, "backbone.0").value is model.backbone[0]


def test_a_model_can_be_copied_between_steps():
    """Weight averaging deep-copies the model; a tap must not keep it from that or be copied along."""
    model = ToyEncoder()
    tap = MethodOutput("score")
    read(tap, model, *pair_batch().values())
    twin = copy.deepcopy(model)
    assert not tap.fired
    twin(*pair_batch().values())
    assert not tap.fired
