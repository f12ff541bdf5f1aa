"""Every option of BPKD in a training step of mmseg's own networks, not on the loss alone."""

from __future__ import annotations

import copy
import functools
import inspect

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

import kdhub
from kdseg.losses.bpkd import BPKDLoss

CLASSES, HEIGHT, WIDTH = 4, 32, 64
VOID = 255
OPTIONS = [
    {"edge_weight": 0.0},
    {"edge_weight": 5.0},
    {"body_weight": 0.0},
    {"body_weight": 5.0},
    {"alpha": 1.0},
    {"alpha": [1.0, 2.0, 3.0, 4.0]},
    {"temperature": 4.0},
    {"window": 3},
    {"edge_normalizer": "sum"},
    {"edge_class_reduction": "mean_present"},
    {"body_mask_mode": "exclude"},
    {"void_rule": "pixel"},
    {"void_rule": "transition"},
    {"ignore_index": 0},
]


def segmentor(channels):
    """Describe an encoder and decoder of mmseg that take a few milliseconds."""
    return {
        "type": "mmseg.EncoderDecoder",
        "data_preprocessor": {"type": "mmseg.SegDataPreProcessor", "size": (HEIGHT, WIDTH), "seg_pad_val": VOID},
        "backbone": {
            "type": "mmseg.ResNet",
            "depth": 18,
            "base_channels": channels,
            "strides": (1, 1, 1, 1),
            "norm_cfg": {"type": "BN"},
        },
        "decode_head": {
            "type": "mmseg.FCNHead",
            "in_channels": 8 * channels,
            "channels": channels,
            "num_convs": 1,
            "num_classes": CLASSES,
            "align_corners": False,
            "norm_cfg": {"type": "BN"},
            "loss_decode": {"type": "mmseg.CrossEntropyLoss"},
        },
    }


def batch(void):
    """Blocks of classes, a strip without class among them."""
    generator = torch.Generator().manual_seed(0)
    samples = []
    for _ in range(2):
        coarse = torch.randint(0, CLASSES, (1, 4, 4), generator=generator)
        labels = coarse.repeat_interleave(HEIGHT // 4, 1).repeat_interleave(WIDTH // 4, 2)
        labels[:, 12:14] = void
        sample = SegDataSample(metainfo={"img_shape": (HEIGHT, WIDTH)})
        sample.gt_sem_seg = PixelData(data=labels)
        samples.append(sample)
    images = torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8)
    return {"inputs": list(images), "data_samples": samples}


def train(options, void, steps=2):
    """Return the terms of each step, and whether teacher and student have other weights than before."""
    torch.manual_seed(0)
    kdhub.init()
    model = {
        "type": "kdhub.Distiller",
        "student": segmentor(4),
        "teacher": {"type": "kdhub.ModelTeacher", "model": segmentor(8)},
        "objectives": {
            "boundary": {
                "loss": {"type": "kdseg.BPKDLoss", **options},
                "student": "decode_head.conv_seg",
                "teacher": "decode_head.conv_seg",
            }
        },
    }
    with DefaultScope.overwrite_default_scope("mmseg"):
        distiller = MODELS.build(model)
    distiller.train()
    networks = distiller.student, distiller.teachers["teacher"].model
    before = [copy.deepcopy(one.state_dict()) for one in networks]
    optimizer = OptimWrapper(torch.optim.SGD(distiller.parameters(), lr=0.01))
    logs = [distiller.train_step(batch(void), optimizer) for _ in range(steps)]
    terms = [{name: value.item() for name, value in log.items() if "boundary" in name} for log in logs]
    changed = [
        any(not torch.equal(value, old[name]) for name, value in one.state_dict().items() if "weight" in name)
        for one, old in zip(networks, before, strict=True)
    ]
    return terms, changed


@functools.cache
def by_default(void):
    terms, _ = train({}, void)
    return terms


# mmseg's advice on a loss's options
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:mmseg")


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: str(*options.items()))
def test_an_option_reaches_the_training_step(options):
    """An option that holds for the loss alone may be lost between config, objective and step, or stop the run."""
    void = options.get("ignore_index", VOID)
    terms, changed = train(options, void)
    assert changed == [True, False]
    for step in terms:
        assert all(0 <= value < float("inf") for value in step.values()), terms
        assert sum(step.values()) > 0
    assert terms[0] != pytest.approx(by_default(void)[0], rel=1e-3)


def test_every_option_is_tried():
    """An option that is added to the loss would be tried on the loss alone."""
    assert {name for options in OPTIONS for name in options} == set(inspect.signature(BPKDLoss).parameters)
