"""`kdseg.CamVid`: 11 becomes 255, and a folder that is not CamVid is told at once."""

import re
from pathlib import Path

import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

import kdhub
from kdhub.errors import UsageError
from kdseg.data.camvid import CamVid


@pytest.fixture
def camvid(tmp_path):
    """Two splits of two images of 6 x 4; each mask holds 0..11 twice."""
    for split in ("train", "val"):
        for name in ("b.jpg", "a.png"):
            write_pair(tmp_path / split, name)
    return tmp_path


def write_pair(folder, name, mask=None):
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(folder / "images" / name)
    mask = np.arange(24, dtype=np.uint8).reshape(4, 6) % 12 if mask is None else mask
    Image.fromarray(mask).save(folder / "masks" / f"{name.rpartition('.')[0]}.png")


def load(dataset, index):
    """Run mmseg's own loading of annotations."""
    results = LoadAnnotations()(dataset.get_data_info(index))
    return results["gt_seg_map"]


def test_unlabelled_becomes_255(camvid):
    """With 11 left in the labels, the loss would learn a twelfth class or stop in CUDA; all others must stay."""
    labels = load(CamVid(str(camvid), split="val"), 0)
    assert labels.ravel().tolist() == [*range(11), 255] * 2


def test_the_registry_builds_it_with_a_pipeline(camvid):
    """What a config writes, under mmseg's scope, down to the tensor that losses and metrics get."""
    dataset = kdhub.build(
        "dataset",
        {
            "type": "kdseg.CamVid",
            "data_root": str(camvid),
            "pipeline": [
                {"type": "mmseg.LoadImageFromFile"},
                {"type": "mmseg.LoadAnnotations"},
                {"type": "mmseg.PackSegInputs"},
            ],
        },
    )
    assert len(dataset) == 2
    assert [dataset.get_data_info(index)["img_path"].rpartition("/")[2] for index in (0, 1)] == ["a.png", "b.jpg"]
    sample = dataset[0]
    assert sample["inputs"].shape == (3, 4, 6)
    labels = sample["data_samples"].gt_sem_seg.data
    assert labels.shape == (1, 4, 6)
    assert labels.unique().tolist() == [*range(11), 255]


def test_a_choice_of_classes_keeps_unlabelled_out(camvid):
    """The map that mmseg makes for fewer classes knows nothing of 11."""
    dataset = CamVid(str(camvid), metainfo={"classes": ("road", "sky")})
    assert load(dataset, 0).ravel().tolist() == [1, 255, 255, 0, *[255] * 8] * 2
    assert dataset.metainfo["palette"] == [[128, 64, 128], [128, 128, 128]]


def test_classes_and_colours_belong_together():
    """A picture in wrong colours misleads without any error."""
    colours = dict(zip(CamVid.METAINFO["classes"], CamVid.METAINFO["palette"], strict=True))
    assert next(iter(colours)) == "sky"
    assert list(colours)[10] == "bicyclist"
    assert len({tuple(colour) for colour in colours.values()}) == 11
    assert colours["road"] == [128, 64, 128]


def test_fingerprint_follows_the_files(camvid):
    """A run card must show that two runs had different files, not that these lay in different folders."""
    train, val = (CamVid(str(camvid), split=split).fingerprint() for split in ("train", "val"))
    assert train == val, "both splits hold the same files here"
    write_pair(camvid / "val", "c.jpg")
    assert CamVid(str(camvid), split="val").fingerprint() != val
    assert CamVid(str(camvid), split="train").fingerprint() == train


def refusal(camvid, **arguments):
    with pytest.raises(UsageError) as caught:
        CamVid(str(camvid), **arguments)
    return str(caught.value)


def test_unknown_split(camvid):
    """`validation` is what other data sets call it."""
    text = refusal(camvid, split="vall")
    assert text == "CamVid has no split 'vall' (expected train, val, test); did you mean 'val'?"


def test_folder_that_is_not_there(camvid):
    """The most common mistake of all must say what to type."""
    text = refusal(camvid / "nowhere")
    assert "no folder" in text
    assert "nowhere/train/images" in text
    assert text.endswith("-> python tools/prepare_data.py camvid")
    assert "test/images" in refusal(camvid, split="test")


def test_image_without_mask(camvid):
    """Left out in silence it would make another data set of the same name."""
    (camvid / "train/masks/b.png").unlink()
    assert "no mask for image 'b.jpg'" in refusal(camvid)


def test_no_images(camvid):
    """A data set of length 0 would be built, and fail far away in the sampler."""
    for path in (camvid / "train/images").iterdir():
        path.unlink()
    assert re.search(
        r"no images \(expected ID\.png, .*ID\.jpg, .*got 2 files of masks/ without an image", refusal(camvid)
    )


@pytest.mark.parametrize("name", ["c.jpeg", "c.JPG", "c.Png", "c.bmp", "c.webp", "c.tiff", "c.jp2", "c.ppm"])
def test_every_suffix_that_is_read(camvid, name):
    """A folder of four .jpeg and two .jpg trained on two images, and nothing was said."""
    write_pair(camvid / "train", name)
    dataset = CamVid(str(camvid), pipeline=[{"type": "mmseg.LoadImageFromFile"}])
    assert [Path(dataset.get_data_info(index)["img_path"]).name for index in range(3)] == ["a.png", "b.jpg", name]
    assert dataset[2]["img"].shape == (4, 6, 3)


def test_masks_of_every_suffix_that_keeps_numbers(camvid):
    """A mask in capitals, from another system, is there, although another name is looked for."""
    masks = camvid / "train/masks"
    (masks / "a.png").rename(masks / "a.PNG")
    Image.open(masks / "b.png").save(masks / "b.tif")
    dataset = CamVid(str(camvid))
    assert [Path(dataset.get_data_info(index)["seg_map_path"]).name for index in (0, 1)] == ["a.PNG", "b.png"]


def test_what_is_left_out_is_counted(camvid, monkeypatch):
    """Whoever counted six files trains on two and does not know it."""
    said = []
    monkeypatch.setattr("kdseg.data.camvid.print_log", lambda line, *_: said.append(line))
    CamVid(str(camvid))
    assert said == []
    for name in ("images/c.gif", "images/d.txt", "images/.DS_Store", "masks/e.png"):
        (camvid / "train" / name).write_bytes(b"")
    CamVid(str(camvid))
    assert said == [
        "train: 2 images with masks; left out: 2 files of images/ that are read as no image, such as c.gif,"
        " 1 files of masks/ without an image, such as e.png"
    ]


def test_twins_and_folders_are_not_passed_over(camvid, monkeypatch):
    """A mask of another format or a folder of more images was left out without a word; two images shared one mask."""
    said = []
    monkeypatch.setattr("kdseg.data.camvid.print_log", lambda line, *_: said.append(line))
    train = camvid / "train"
    (train / "masks/a.png").rename(train / "masks/a.PNG")
    for name in ("a.bmp", "a.tif"):
        Image.open(train / "masks/a.PNG").save(train / "masks" / name)
    (train / "images/sequence").mkdir()
    assert Path(CamVid(str(camvid)).get_data_info(0)["seg_map_path"]).name == "a.PNG"
    assert said == [
        "train: 2 images with masks; left out: 1 folders in images/, which are not looked into, such as sequence,"
        " 2 files of masks/ beside a mask of the same name, such as a.bmp"
    ]
    Image.open(train / "images/a.png").save(train / "images/a.jpeg")
    assert "images: two images for one mask (got a.jpeg and a.png)" in refusal(camvid)


def test_mask_of_another_size(camvid):
    """Resize brings image and mask to one size, so that nobody would notice the shifted labels."""
    write_pair(camvid / "train", "c.jpg", np.zeros((6, 4), np.uint8))
    assert "another size than its image (expected 6 x 4, got 4 x 6)" in refusal(camvid)


def test_mask_of_colours(camvid):
    """CamVid is also handed out with colours in the masks; mmseg would take the red channel's width for more labels."""
    write_pair(camvid / "train", "c.jpg", np.zeros((4, 6, 3), np.uint8))
    assert "one class number a pixel" in refusal(camvid)
    (camvid / "train/masks/c.png").write_bytes(b"no image")
    assert "cannot be read as an image" in refusal(camvid)


@pytest.mark.shared
def test_real_masks_hold_what_is_declared(shared_data, tmp_path):
    """The order of classes is a convention of the files, which only the files can confirm: sky is above, road below."""
    from kdseg.data import camvid_files

    camvid_files.convert(shared_data / "camvid", tmp_path)
    dataset = CamVid(str(tmp_path), split="val")
    assert len(dataset) == 101
    labels = np.stack([load(dataset, index) for index in range(0, 101, 10)])
    assert set(np.unique(labels)) == {*range(11), 255}
    height = {name: np.argwhere(labels == index)[:, 1].mean() for index, name in enumerate(dataset.metainfo["classes"])}
    assert height["sky"] < 120 < 240 < height["road"]
    assert height["building"] < height["pavement"]
