"""Feature pyramids and data elements: compared level by level, adapted level by level, never half of them."""

import pytest
import torch
from hypothesis import given, strategies as st
from mmengine.structures import InstanceData
from torch import nn

from kdhub.distill.distiller import Distiller
from kdhub.distill.levels import EachLevel, is_pyramid
from kdhub.errors import UsageError
from kdhub.testing.toys import ToySegmentor, segmentation_batch
from kdhub.values import describe, map_tensors, register_node, tensors_in


class Neck(nn.Module):
    """Gives a tuple of three maps, each half the size of the one before."""

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(3))

    def forward(self, features):
        maps = []
        for conv in self.convs:
            features = nn.functional.avg_pool2d(features, 2)
            maps.append(conv(features))
        return tuple(maps)


class Pyramid(ToySegmentor):
    """A segmentor whose neck runs beside its head."""

    def __init__(self, width=8):
        super().__init__(width)
        self.neck = Neck(width)

    def forward(self, inputs, labels=None, mode="tensor"):
        self.neck(self.backbone(inputs))
        return super().forward(inputs, labels, mode)


def distiller(teacher_width=8, loss="kdhub.MSE", **objective):
    torch.manual_seed(0)
    student = Pyramid()
    teacher = {"type": "kdhub.ModelTeacher", "model": Pyramid(teacher_width), "own_weights": True}
    spec = {"loss": {"type": loss}, "student": "neck", "teacher": "neck", **objective}
    return Distiller(student, {"fpn": spec}, teacher=teacher, task_weight=0.0)


def losses(model):
    batch = model.data_preprocessor(segmentation_batch(), True)
    return model.train()(**batch, mode="loss")


def test_levels_are_compared_one_by_one():
    """One number over a concatenation would let the largest map drown the others, and nobody would see which is off."""
    model = distiller()
    found = losses(model)
    images = segmentation_batch()["inputs"]
    ours, theirs = (side.neck(side.backbone(images)) for side in (model.student, model.teachers["teacher"].model))
    for level in range(3):
        expected = (ours[level] - theirs[level]).square().mean()
        torch.testing.assert_close(found[f"loss_fpn_{level}"], expected)
    assert {name for name in found if "fpn" in name} == {"loss_fpn_0", "loss_fpn_1", "loss_fpn_2"}


def test_each_level_teaches():
    """A level whose gradient is lost would not show in the sum."""
    model = distiller()
    sum(value for name, value in losses(model).items() if "fpn" in name).backward()
    assert all(conv.weight.grad.abs().sum() > 0 for conv in model.student.neck.convs)


def test_the_probe_writes_an_adapter_for_each_level():
    """A fragment that does not work when pasted is worse than none."""
    with pytest.raises(UsageError, match=r"kdhub\.EachLevel") as caught:
        losses(distiller(teacher_width=12))
    fragment = str(caught.value).partition(".adapter=")[2]
    adapter = eval(fragment)
    model = distiller(teacher_width=12, adapter=adapter)
    found = losses(model)
    assert len([name for name in found if "fpn" in name]) == 3
    found["loss_fpn_2"].backward()
    grads = [one.grad for one in model.objectives["fpn"].adapters.parameters()]
    assert sum(one is not None and bool(one.abs().sum() > 0) for one in grads) == 2  # weight and bias of one level


def test_another_number_of_levels_is_told():
    """Zipping would compare the first ones and drop the rest."""
    model = distiller()
    model.teachers["teacher"].model.neck.convs = model.teachers["teacher"].model.neck.convs[:2].eval()
    with pytest.raises(UsageError, match="3 and 2 levels"):
        losses(model)


@pytest.mark.parametrize("value", [torch.zeros(1, 4, 2), (torch.zeros(1, 4, 2),) * 3, (torch.zeros(1, 2),) * 2])
def test_each_level_refuses_other_values(value):
    """It would adapt the rows of a tensor as if they were levels."""
    adapter = EachLevel([{"type": "kdhub.Linear", "in_features": 2, "out_features": 3}, None])
    with pytest.raises(UsageError, match="a tuple of 2 tensors"):
        adapter(value, (torch.zeros(1, 4, 3), torch.zeros(1, 4, 2)))


def test_pairs_of_embeddings_are_compared_together():
    """A loss on [queries, documents] would be called with each alone."""
    assert not is_pyramid([torch.zeros(4, 6), torch.zeros(32, 6)])
    assert not is_pyramid([torch.zeros(4, 6, 2), torch.zeros(32, 6, 2)])
    assert not is_pyramid([])
    assert is_pyramid((torch.zeros(4, 6, 2), torch.zeros(4, 6, 1)))


@pytest.mark.parametrize("levels", [None, [], 3, {"type": "kdhub.Linear"}])
def test_levels_that_are_no_list_are_refused(levels):
    """One adapter for all levels is not what a dict there would mean."""
    with pytest.raises(UsageError, match="levels"):
        EachLevel(levels)


TREES = st.recursive(
    st.integers(0, 3).map(lambda size: torch.ones(size)) | st.none() | st.text(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(TREES)
def test_mapping_keeps_the_form_and_meets_every_tensor(tree):
    """A tensor that is passed over keeps its graph, and a teacher's value would carry a gradient."""
    before = list(tensors_in(tree))
    met = []
    mapped = map_tensors(lambda tensor: met.append(tensor) or tensor + 1, tree)
    assert [id(one) for one in met] == [id(one) for one in before]
    assert describe(mapped) == describe(tree)
    assert all(torch.equal(new, old + 1) for new, old in zip(tensors_in(mapped), before, strict=True))


def test_data_elements_are_trees():
    """Proposals and instances of mmdet are read by taps; passed through as they are they would keep the student's graph."""
    boxes = InstanceData(metainfo={"img_shape": (4, 4)})
    boxes.bboxes = torch.ones(3, 4, requires_grad=True)
    boxes.names = ["a", "b", "c"]
    (mapped,) = map_tensors(torch.Tensor.detach, [boxes])
    assert isinstance(mapped, InstanceData)
    assert not mapped.bboxes.requires_grad
    assert boxes.bboxes.requires_grad
    assert mapped.img_shape == (4, 4)
    assert mapped.names == ["a", "b", "c"]
    assert "bboxes=(3, 4)" in describe([boxes])


def test_a_plugin_registers_its_own_output_class():
    """A model with an output class of its own could not be tapped without a change of kdhub."""

    class Output:
        def __init__(self, logits):
            self.logits = logits

    class Special(Output):
        pass

    value = Special(torch.ones(2))
    assert list(tensors_in(value)) == []
    register_node(Output, lambda one: {"logits": one.logits}, lambda one, new: type(one)(**new))
    assert [tensor.shape for tensor in tensors_in(value)] == [(2,)]
    assert type(map_tensors(torch.neg, value)) is Special
