"""The configs for Fashion-MNIST build and step, on narrow networks and a handful of made-up images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from PIL import Image

from kdgen.data import Images
from kdgen.metrics import ImageQuality
from kdgen.toys import optimizers
from kdgen.trajectories import Trajectories, collect_trajectories
from kdhub.api import UsageError, build
from kdhub.config import check_config, load_config
from kdhub.registry import init

FOLDER = Path(__file__).parents[3] / "configs" / "generation" / "fashion"
STUDENTS = sorted(path.name for path in FOLDER.glob("*_teacher-unet_*.py"))
pytest.importorskip("diffusers")
pytest.importorskip("kdcls")


def narrow(denoiser):
    """Make a network of the configs small."""
    denoiser.net.update(block_out_channels=(8, 8), norm_num_groups=4, attention_head_dim=4)
    return denoiser


@pytest.fixture
def images(tmp_path):
    """A folder with ten images of each split, in the format of Fashion-MNIST."""
    for part in ("train", "t10k"):
        pixels = np.random.default_rng(0).integers(0, 256, (10, 28, 28), dtype=np.uint8)
        head = bytes([0, 0, 8, 3]) + np.array(pixels.shape, ">u4").tobytes()
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        labels = bytes([0, 0, 8, 1]) + np.array([10], ">u4").tobytes() + bytes(range(10))
        (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    return {"type": "kdcls.FashionMNIST", "root": str(tmp_path), "split": "train"}


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.py")))
def test_configs_pass_the_check(name):
    """A config with a slip is found after the teacher has trained for an hour."""
    report = check_config(load_config(str(FOLDER / name)), init())
    assert not report.errors, [one.line() for one in report.errors]


@pytest.mark.parametrize("name", STUDENTS)
def test_students_build_and_step(name, images, tmp_path):
    """Networks of images meet what points do not: classes, attention under a Jacobian-vector product, weights of the teacher."""
    cfg = load_config(str(FOLDER / name))
    teacher = narrow(load_config(str(FOLDER / "teacher_unet_2000it_fashion-14.py")).model)
    cfg.model.teacher = {"type": "kdhub.ModelTeacher", "own_weights": True, "model": teacher}
    narrow(cfg.model.student)
    if "path" in cfg.model:
        cfg.model.path = []
    if name.startswith("agd"):
        collect_trajectories(tmp_path, cfg.model.teacher, (1, 14, 14), trajectories=2, held_out=0, steps=2)
        cfg.model.student.adapters.update(width=8)
        batch = Trajectories(str(tmp_path), chunk=2)[0]
    else:
        data = cfg.train_dataloader.dataset
        data.chunk = 2
        if data.type == "kdgen.Images":
            data.data = images
        batch = build("dataset", data)[0]
    if "points" in cfg.model:
        cfg.model.points = 3
    model = MODELS.build(cfg.model)
    with torch.no_grad():
        for one in model.student.parameters():  # a fresh network of diffusers ends in zeros, or begins as its teacher
            one.add_(0.01 * torch.randn_like(one))
    before = {key: value.clone() for key, value in model.student.named_parameters()}
    logs = model.train_step(batch, optimizers(model, 0.1))
    assert all(value.isfinite() for value in logs.values()), logs
    assert any(not torch.equal(value, before[key]) for key, value in model.student.named_parameters())
    assert model.student(torch.randn(2, 1, 14, 14), torch.tensor([0, 9])).shape == (2, 1, 14, 14)


def test_images_are_those_of_the_data(images):
    """A teacher of images from 0 to 1, or of labels of other images, samples what looks washed out, or wrong."""
    data = Images(images, chunk=4, seed=0)
    chunk, source = data[1], build("dataset", images)
    assert torch.equal(chunk["inputs"], data[1]["inputs"])
    for image, label in zip(chunk["inputs"], chunk["labels"], strict=True):
        pixels = torch.from_numpy(source.images[int(label)].copy()).float()  # the label is the number of the image
        assert torch.allclose((image[0] + 1) * 127.5, pixels, atol=1e-3)
    assert len(data) == 2
    assert data.fingerprint() != Images({**images, "split": "test"}, chunk=5, seed=0).fingerprint()


def test_smaller_images_are_means_of_squares(images):
    """Every second pixel in the place of a mean has another spectrum, and the metric compares the two."""
    whole, half = (Images(images, chunk=4, seed=0, downscale=side)[1]["inputs"] for side in (1, 2))
    assert half.shape == (4, 1, 14, 14)
    assert torch.allclose(half[2, 0, 3, 5], whole[2, 0, 6:8, 10:12].mean(), atol=1e-6)
    with pytest.raises(UsageError, match="divides 28 and 28"):
        Images(images, downscale=3)[0]


@pytest.mark.parametrize(
    "wrong",
    [
        torch.zeros(3, 8, 8),
        torch.zeros(3, 8, 8, dtype=torch.uint8),
        Image.new("P", (8, 8)),
        Image.new("RGBA", (8, 8)),
        Image.new("L", (8, 9)),
    ],
    ids=["float", "chw", "palette", "alpha", "size"],
)
def test_images_that_would_be_taken_wrongly_are_refused(wrong):
    """Floats from 0 to 1 become images of -1, and places in a palette become grey values: the teacher learns nonsense."""
    with pytest.raises(UsageError, match=r"image 1 .*Images\.data|Images\.data: image 1 "):
        Images([(Image.new("L", (8, 8)), 0), (wrong, 0)])[0]
    assert Images([(Image.new("RGB", (8, 9)), 0)])[0]["inputs"].shape == (64, 3, 9, 8)


def test_images_equal_to_the_data_are_at_no_distance(images):
    """The metric must be 0 at the data, and its spread 1; a collapsed generator must not look near."""
    config = {"type": "kdgen.Images", "data": images, "chunk": 5, "seed": 0}
    data = build("dataset", config)
    metric = ImageQuality(config)
    same = [{"sample": one} for index in range(2) for one in data[index]["inputs"]]
    metric.process(None, same)
    assert metric.compute_metrics(metric.results) == {"sliced_w2": 0.0, "spread": 1.0}
    metric.results.clear()
    metric.process(None, same[:1] * 10)
    found = metric.compute_metrics(metric.results)
    assert found["sliced_w2"] > 0.1
    assert found["spread"] == 0
