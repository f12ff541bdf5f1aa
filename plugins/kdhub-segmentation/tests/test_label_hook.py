"""`LabelCheckHook`: wrong label maps told before the student's own loss meets them."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from kdhub.errors import UsageError
from kdseg.label_hook import LabelCheckHook


def runner(*, decode_head=None):
    student = nn.Module()
    if decode_head is not None:
        student.decode_head = decode_head
    return SimpleNamespace(model=student)


def head(num_classes, ignore_index=255):
    made = nn.Module()
    made.num_classes, made.ignore_index = num_classes, ignore_index
    return made


def batch(labels, size=(4, 6)):
    """A batch of one image as mmseg's ``PackSegInputs`` and collation give it."""
    sample = SegDataSample(metainfo={"img_path": "a.png", "seg_map_path": "a_labels.png"})
    sample.gt_sem_seg = PixelData(data=labels.unsqueeze(0))
    return {"inputs": [torch.zeros(3, *size)], "data_samples": [sample]}


@pytest.mark.parametrize("wrong", [-1, 3, 254])
def test_a_label_that_is_no_class_names_its_file(wrong):
    """All torch says is 'Target 37 is out of bounds', for one of a hundred thousand files, and on a GPU aborts."""
    labels = torch.zeros(4, 6, dtype=torch.long)
    labels[1, 2] = wrong
    with pytest.raises(UsageError, match=rf"a_labels\.png: .*no class.*expected 0 to 2, or 255.*got {wrong}"):
        LabelCheckHook().before_train_iter(runner(decode_head=head(3)), 0, batch(labels))


def test_masks_of_another_size_are_told():
    """Padded to one size they fit again, and every pixel would be taught a label of another place."""
    labels = torch.zeros(2, 6, dtype=torch.long)
    with pytest.raises(UsageError, match=r"a_labels\.png: masks of another size.*expected 4 x 6, got 2 x 6"):
        LabelCheckHook().before_train_iter(runner(decode_head=head(3)), 0, batch(labels))


def test_a_sample_without_labels_is_told():
    """A pipeline that loads no labels ended in an AttributeError of mmseg's data sample."""
    without = batch(torch.zeros(4, 6, dtype=torch.long))
    del without["data_samples"][0].gt_sem_seg
    with pytest.raises(UsageError, match=r"a_labels\.png: the sample has no label map .*LoadAnnotations"):
        LabelCheckHook().before_train_iter(runner(decode_head=head(3)), 0, without)


@pytest.mark.parametrize("decode_head", [head(3), nn.ModuleList([head(2), head(3)]), head(3, ignore_index=-1)])
def test_right_labels_pass(decode_head):
    """Every class and void; of a cascade the last head decides, and a head may ignore another number."""
    void = getattr(decode_head, "ignore_index", 255)
    labels = torch.tensor([0, 1, 2, void]).repeat(6).view(4, 6)
    LabelCheckHook().before_train_iter(runner(decode_head=decode_head), 0, batch(labels))


def test_a_student_of_another_task_is_told_before_training():
    """The hook could only pass over it in silence."""
    with pytest.raises(UsageError, match="knows segmentors of mmseg only"):
        LabelCheckHook().before_train(runner())
