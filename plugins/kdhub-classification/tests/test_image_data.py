"""Image folders and archives, Fashion-MNIST, long tails: what is read, what is refused, and what stays the same."""

import gzip
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch.utils.data import DataLoader

from kdcls.digits import Digits
from kdcls.fashion import FashionMNIST
from kdcls.images import ImageFolder
from kdcls.long_tail import LongTail
from kdhub.api import TorchDataset, UsageError, build, check_config, init

COUNTS = {"cat": 3, "ant": 2, "dog": 1}


def zipped(folder):
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


# ---------------------------------------------------------------- folders and archives


def test_a_folder_and_its_zip_are_one_data_set(image_folder):
    """Classes in another order in the archive would train a net whose answers mean something else."""
    folder = image_folder(COUNTS)
    for data in (ImageFolder(str(folder)), ImageFolder(str(zipped(folder)))):
        assert data.classes == ("ant", "cat", "dog")
        assert data.targets == [0, 0, 1, 1, 1, 2]
        assert len(data) == 6
        image, label = data[5]
        assert (image.mode, image.size, label) == ("RGB", (12, 8), 2)
    one, two = (ImageFolder(str(path)) for path in (folder, folder.with_suffix(".zip")))
    assert all(a[0].tobytes() == b[0].tobytes() for a, b in zip(one, two, strict=True))
    assert (
        one.fingerprint()
        == two.fingerprint()
        != ImageFolder(str(image_folder({"cat": 3, "dog": 1}, "other"))).fingerprint()
    )


def test_data_are_found_where_the_variable_says(image_folder, monkeypatch, tmp_path):
    """Configs say data/NAME; on a cluster data lie elsewhere, and `kdhub doctor` promises that KDHUB_DATA is followed."""
    folder = image_folder(COUNTS)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no folder and no zip file"):
        ImageFolder("data/images")
    monkeypatch.setenv("KDHUB_DATA", str(folder.parent))
    assert ImageFolder("data/images").root == folder


def test_workers_read_an_archive(image_folder):
    """Processes that share an open zip file read each other's bytes."""
    data = ImageFolder(str(zipped(image_folder(COUNTS))), transform=_first_pixel)
    data[0]
    alone = [data[index][0] for index in range(6)]
    loader = DataLoader(data, batch_size=None, num_workers=2)
    assert [image for image, _ in loader] == alone
    assert pickle.loads(pickle.dumps(data))[3][0] == alone[3]  # noqa: S301


def _first_pixel(image):
    return list(image.getpixel((0, 0)))


def test_a_given_class_list_numbers_the_classes(image_folder):
    """A part of a data set has not all classes, and its sorted folders would be other numbers."""
    data = ImageFolder(str(image_folder({"dog": 1})), classes=("ant", "cat", "dog"))
    assert (data.classes, data.targets) == (("ant", "cat", "dog"), [2])
    with pytest.raises(UsageError, match=r"'dog' is a folder of images, and no class .*did you mean 'doge'"):
        ImageFolder(str(data.root), classes=("ant", "doge"))


def test_a_single_folder_is_no_data_set_by_itself(image_folder):
    """An archive often has one folder around all others: each image would be of class 0, and the accuracy 100 %."""
    folder = image_folder(COUNTS, "around/train")
    with pytest.raises(UsageError, match=r"one class.*root='.*around/train'.*classes=\['train'\]"):
        ImageFolder(str(folder.parent))
    assert ImageFolder(str(folder.parent), classes=["train"]).targets == [0] * 6


def errors_of(train, val, **options):
    """The findings on a config that validates one folder's student on another's, as deep in wrappers as recipes have them."""

    def loader(root, **more):
        data = {"type": "kdcls.ImageFolder", "root": str(root), **more}
        data = {"type": "kdcls.LongTail", "data": data}
        return {"batch_size": 2, "dataset": {"type": "kdhub.TorchDataset", "data": data}}

    cfg = {"train_dataloader": loader(train, **options), "val_dataloader": loader(val)}
    found = check_config(cfg, init()).errors
    return [str(finding.line()) for finding in found if finding.path.endswith("data.classes")]


@pytest.mark.parametrize("archived", [False, True])
def test_other_folders_in_validation_are_refused(image_folder, archived):
    """Without 'cat' a dog is number 1: the accuracy is of other answers than the net gives, and nobody notices."""
    folders = image_folder(COUNTS, "train"), image_folder({"ant": 1, "dog": 1}, "val")
    (folders[1] / "cat").mkdir()  # an empty folder is no class
    (folders[1] / "cat/notes.txt").write_text("no image")
    train, val = map(zipped, folders) if archived else folders
    (error,) = errors_of(train, val)
    assert "val_dataloader.dataset.data.data.classes" in error
    assert "ant, cat, dog (3)" in error
    assert "ant, dog (2): without cat (1)" in error
    assert errors_of(train, train) == []
    (error,) = errors_of(train, train, classes=["dog", "cat", "ant"])
    assert "in another order" in error


def test_folders_that_cannot_be_compared_are_let_pass(image_folder, tmp_path):
    """Images without labels lie in one folder, and a check may run before the data are there; neither is a mistake."""
    train, val = image_folder({"all": 2}, "train"), image_folder(COUNTS, "val")
    assert errors_of(train, val, classes=["all"]) == []
    assert errors_of(tmp_path / "nowhere", val) == errors_of(val, tmp_path / "nowhere") == []
    damaged = zipped(val)
    damaged.write_bytes(damaged.read_bytes().replace(b"PK\x01\x02", b"PK\x01\x09"))
    assert errors_of(val, damaged) == []


def test_folders_that_have_other_classes_on_purpose_are_let_pass(image_folder):
    """Images out of distribution, or without labels beside labelled ones, are of other classes, or of none."""
    inside, outside = image_folder(COUNTS, "inside"), image_folder({"car": 1, "bus": 1}, "outside")
    unlabelled = image_folder({"all": 2}, "unlabelled")

    def data(root, **more):
        return {"type": "kdhub.TorchDataset", "data": {"type": "kdcls.ImageFolder", "root": str(root), **more}}

    mixed = {"type": "kdood.Mixed", "inside": data(inside), "outside": data(outside)}
    both = {"type": "ConcatDataset", "datasets": [data(inside), data(unlabelled, classes=["all"])]}
    cfg = {
        "train_dataloader": {"batch_size": 2, "dataset": both},
        "test_dataloader": {"batch_size": 2, "dataset": mixed},
    }
    assert not [finding for finding in check_config(cfg, init()).errors if "classes" in finding.path]
    mixed["inside"] = data(outside)
    assert [finding for finding in check_config(cfg, init()).errors if "inside.data.classes" in finding.path]


def test_a_link_to_nothing_is_a_damaged_image(image_folder):
    """A disk that is not mounted leaves links; one of them would end a run that was told to skip what it cannot read."""
    folder = image_folder(COUNTS)
    (folder / "cat/image_0009.png").symlink_to(folder / "nowhere.png")
    assert ImageFolder(str(folder), on_corrupt="skip").skipped == ["cat/image_0009.png"]
    with pytest.raises(UsageError, match=r"image_0009.*on_corrupt='skip'"):
        ImageFolder(str(folder))[5]


def test_what_is_no_image_is_left_out_and_said(image_folder, monkeypatch):
    """A thousand .heic files that nobody reads are a data set that is smaller than its owner thinks."""
    folder = image_folder(COUNTS)
    (folder / "cat/notes.txt").write_text("no image")
    (folder / ".DS_Store").write_text("hidden")
    (folder / "cat/.hidden.png").write_text("hidden")
    said = []
    monkeypatch.setattr("kdcls.images.print_log", lambda text, *_: said.append(text))
    assert len(ImageFolder(str(folder))) == 6
    assert len(said) == 1
    assert "1 files are no images, such as cat/notes.txt" in said[0]


@pytest.mark.parametrize("place", ["nowhere", "empty", "text.zip"])
def test_places_without_images_are_refused(tmp_path, place):
    """The first batch would fail with an index error."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(UsageError, match=place):
        ImageFolder(str(tmp_path / place))


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
@pytest.mark.parametrize("archived", [False, True])
def test_a_damaged_image_is_named_or_left_out(image_folder, damage, archived, monkeypatch):
    """Pillow says 'cannot identify image file <BytesIO>'; which of a million it was is for the user to find."""
    folder = image_folder(COUNTS)
    broken = folder / "cat/image_0001.png"
    broken.write_bytes({"cut": broken.read_bytes()[:60], "text": b"not an image", "empty": b""}[damage])
    root = str(zipped(folder) if archived else folder)
    data = ImageFolder(root)
    data[2]
    with pytest.raises(UsageError, match=r"cannot be read.*on_corrupt='skip'") as caught:
        data[3]
    assert "cat/image_0001.png" in str(caught.value)
    said = []
    monkeypatch.setattr("kdcls.images.print_log", lambda text, *_: said.append(text))
    rest = ImageFolder(root, on_corrupt="skip")
    assert rest.skipped == ["cat/image_0001.png"]
    assert (len(rest), rest.targets) == (5, [0, 0, 1, 1, 2])
    assert "1 of 6 images cannot be read" in said[0]
    assert [label for _, label in rest] == rest.targets
    assert rest.fingerprint() != data.fingerprint()


def test_a_damaged_image_is_named_from_a_worker(image_folder):
    """The error crosses a process; it must not arrive as one that cannot be rebuilt."""
    folder = image_folder({"cat": 2, "dog": 1})
    (folder / "cat/image_0000.png").write_bytes(b"")
    with pytest.raises(UsageError, match="image_0000"):
        list(DataLoader(ImageFolder(str(folder), transform=_first_pixel), batch_size=None, num_workers=1))


def test_transforms_of_timm_and_torchvision_by_name(image_folder):
    """The augmentation is part of a recipe: one that a config cannot say needs a Python file."""
    root = str(image_folder(COUNTS))
    for transform in (
        {
            "type": "timm.data.create_transform",
            "input_size": 16,
            "is_training": True,
            "auto_augment": "rand-m9-mstd0.5",
        },
        {
            "type": "torchvision.transforms.Compose",
            "transforms": [
                {"type": "torchvision.transforms.Resize", "size": [16, 16]},
                {"type": "torchvision.transforms.ToTensor"},
            ],
        },
    ):
        data = TorchDataset({"type": "kdcls.ImageFolder", "root": root, "transform": transform})
        sample = data[0]
        assert sample["inputs"].shape == (3, 16, 16)
        assert sample["labels"] == 0
        assert data.metainfo["classes"] == ("ant", "cat", "dog")


@pytest.mark.shared
def test_caltech24_is_what_its_readme_says(caltech24):
    """Counts and classes of the data that the recipe's figures rest on."""
    train, val, ood = (ImageFolder(str(caltech24 / f"{name}.zip")) for name in ("train", "val", "ood"))
    assert (len(train), len(val), len(ood)) == (1378, 288, 120)
    assert train.classes == val.classes
    assert len(train.classes) == 24
    assert not set(ood.classes) & set(train.classes)
    counts = np.bincount(train.targets)
    assert (counts.min(), counts.max()) == (48, 60)
    assert np.bincount(val.targets).tolist() == [12] * 24
    assert min(train[0][0].size) == 128


# ---------------------------------------------------------------- Fashion-MNIST


def write_idx(path, array, packed=True):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    content = head + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [True, False])
def test_fashion_mnist_is_read_from_its_files(tmp_path, packed):
    """Big-endian sizes read little-endian give an array of other images, or none."""
    images, labels = np.arange(3 * 28 * 28).reshape(3, 28, 28) % 251, np.array([9, 0, 4])
    end = ".gz" if packed else ""
    write_idx(tmp_path / f"t10k-images-idx3-ubyte{end}", images, packed)
    write_idx(tmp_path / f"t10k-labels-idx1-ubyte{end}", labels, packed)
    data = FashionMNIST(str(tmp_path), "test")
    image, label = data[2]
    assert (image.mode, image.size, label) == ("L", (28, 28), 4)
    assert (np.asarray(image) == images[2]).all()
    assert data.targets.tolist() == [9, 0, 4]
    with pytest.raises(UsageError, match="apt-get install dataset-fashion-mnist"):
        FashionMNIST(str(tmp_path), "train")
    write_idx(tmp_path / f"t10k-labels-idx1-ubyte{end}", np.array([10, 0, 4]), packed)
    with pytest.raises(UsageError, match="do not belong together"):
        FashionMNIST(str(tmp_path), "test")
    path = tmp_path / f"t10k-labels-idx1-ubyte{end}"
    path.write_bytes(gzip.compress(b"what is this") if packed else b"what is this")
    with pytest.raises(UsageError, match="not a file of Fashion-MNIST"):
        FashionMNIST(str(tmp_path), "test")


# ---------------------------------------------------------------- long tails


class Labelled:
    """Samples are their own numbers."""

    def __init__(self, counts, names=None):
        self.targets = [label for label, count in enumerate(counts) for _ in range(count)]
        self.classes = names or [str(label) for label in range(len(counts))]

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        return index, self.targets[index]


def test_a_long_tail_of_twenty():
    """The published profile: the head keeps all, the last class one in twenty."""
    data = LongTail(Labelled([100] * 5), factor=20)
    assert data.counts.tolist() == [100, 47, 22, 10, 5]
    assert np.bincount(data.targets).tolist() == data.counts.tolist()
    assert len(data) == 184
    assert [data[index][1] for index in range(184)] == data.targets.tolist()
    assert LongTail(Labelled([120] * 2), factor=20).counts.tolist() == [120, 6]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.floats(1, 100), st.booleans(), st.integers(0, 5))
def test_a_tail_has_no_empty_class_and_no_sample_twice(counts, factor, shuffle, seed):
    """A class that the rounding empties would be trained on as if it did not exist."""
    data = LongTail(Labelled(counts), factor, shuffle, seed)
    assert (data.counts >= 1).all()
    assert (data.counts <= counts).all()
    assert len(set(data.indices.tolist())) == len(data)
    assert data.counts.max() / data.counts.min() <= factor * 2 or data.counts.min() == 1
    again, other = (
        LongTail(Labelled(counts), factor, shuffle, seed),
        LongTail(Labelled(counts), factor, shuffle, seed + 1),
    )
    assert data.fingerprint() == again.fingerprint()
    if not shuffle:
        assert data.counts.tolist() == other.counts.tolist()


def test_another_seed_keeps_other_images():
    """Runs over three seeds must differ in the tail's images too."""
    one, two = (LongTail(Labelled([50] * 4), seed=seed) for seed in (0, 1))
    assert one.fingerprint() != two.fingerprint()
    shuffled = LongTail(Labelled([50] * 4), shuffle_classes=True, seed=2)
    assert sorted(shuffled.counts) == sorted(one.counts)
    assert shuffled.counts.tolist() != one.counts.tolist()


def test_a_class_without_images_is_named():
    """It would have no place in the tail, and a recall of 0 that nobody can explain."""
    with pytest.raises(UsageError, match=r"a class has no image.*got stop_sign"):
        LongTail(Labelled([5, 0, 3], ["crab", "stop_sign", "lotus"]))
    with pytest.raises(UsageError, match="says its labels"):
        LongTail([1, 2, 3])


def test_a_tail_of_any_data_set_by_config(image_folder):
    """Labels must be found without loading a single image, whatever the data set calls them."""
    init()
    root = str(image_folder({"cat": 20, "dog": 20}))
    cfg = {"type": "kdcls.LongTail", "factor": 4, "data": {"type": "kdcls.ImageFolder", "root": root}}
    data = TorchDataset({**cfg, "data": {**cfg["data"], "transform": {"type": "torchvision.transforms.ToTensor"}}})
    assert data.counts.tolist() == [20, 5]
    assert data[24]["labels"] == 1
    assert data.metainfo["classes"] == ("cat", "dog")
    digits = LongTail(Digits(), factor=10)
    assert torch.equal(digits[0]["labels"], torch.tensor(digits.targets[0]))
    assert digits.classes == tuple("0123456789")
    assert build("dataset", {"type": "kdhub.TorchDataset", "data": cfg}).targets.tolist() == [0] * 20 + [1] * 5


def test_cifar_of_torchvision_by_config(tmp_path, monkeypatch):
    """For those who have the files; nothing is downloaded unless the config asks for it."""
    import torchvision

    asked = []
    monkeypatch.setattr(torchvision.datasets.CIFAR100, "download", lambda self: asked.append(1))
    cfg = {"type": "torchvision.datasets.CIFAR100", "root": str(tmp_path), "train": True}
    with pytest.raises(RuntimeError, match="not found or corrupted"):
        TorchDataset(cfg)
    assert not asked
