"""Mixed images: one batch for student and teacher, soft labels that sum to 1, the same again after a resume."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from mmengine.registry import MODELS

from kdcls.mixed_data import MixedData
from kdcls.mixing import Mixup
from kdhub.api import KdhubError, UsageError, init
from kdhub.testing import assert_resume_exact

few = settings(deadline=None, max_examples=25)


def mixed(seed=0, batch=10, labels=None, **options):
    torch.manual_seed(seed)
    images = torch.randn(batch, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(batch) % 5 if labels is None else labels
    return images, *Mixup(5, **options)(images, labels)


def clean_rows(images, found):
    """How many of the found images are one of the inputs, bit for bit."""
    return sum(any(torch.equal(one, other) for other in images) for one in found)


@given(seed=st.integers(0, 1000), alpha=st.floats(0.1, 4), clean=st.floats(0, 1), replacement=st.booleans())
@few
def test_labels_stay_distributions_and_images_stay_between(seed, alpha, clean, replacement):
    """Label and image mixed with two different shares would teach the wrong thing."""
    images, found, labels = mixed(seed, alpha=alpha, clean=clean, replacement=replacement)
    assert found.shape == images.shape
    torch.testing.assert_close(labels.sum(1), torch.ones(10))
    assert labels.min() >= 0
    # each pixel lies between those of the batch, and the share of an image is that of its label
    assert (found <= images.amax(0) + 1e-5).all()
    assert (found >= images.amin(0) - 1e-5).all()


def test_image_and_label_have_one_share():
    """With an image that is its own one-hot label, both results are the same numbers."""
    labels = torch.arange(5)
    onehot = torch.eye(5)
    torch.manual_seed(3)
    images, soft = Mixup(5, clean=0.0)(onehot, labels)
    torch.testing.assert_close(images, soft)


def test_all_clean_is_a_permutation():
    """The card's first property: with a share of 1 everywhere nothing is mixed."""
    images, found, labels = mixed(clean=1.0)
    assert sorted(found.flatten().tolist()) == sorted(images.flatten().tolist())
    assert ((labels == 0) | (labels == 1)).all()


def test_partial_mixup_mixes_a_tenth():
    """The authors' code draws with replacement and mixes four tenths; the paper says one, which is the default here."""
    images, found, _ = mixed(batch=100)
    assert 90 <= clean_rows(images, found) <= 92  # a sample may be mixed with itself
    images, found, _ = mixed(batch=100, replacement=True)
    assert 45 <= clean_rows(images, found) <= 75
    images, found, _ = mixed(batch=100, clean=0.0)
    assert clean_rows(images, found) <= 5


def test_a_seed_repeats_shares_and_permutations():
    """A run that is repeated must see the same images."""
    assert torch.equal(mixed(5)[1], mixed(5)[1])
    assert not torch.equal(mixed(5)[1], mixed(6)[1])


def test_soft_labels_are_mixed_as_they_are():
    """Labels that CutMix made soft must not be rounded on the way."""
    soft = torch.softmax(torch.randn(10, 5), 1)
    _, _, labels = mixed(labels=soft)
    torch.testing.assert_close(labels.sum(1), torch.ones(10))
    assert not ((labels == 0) | (labels == 1)).any()


@pytest.mark.parametrize(
    "labels", [torch.arange(10), torch.zeros(9, dtype=torch.long), torch.zeros(10), torch.zeros(10, 6)]
)
def test_labels_that_are_no_classes_are_refused(labels):
    """A one-hot of the wrong width fails later, in the cross-entropy, without saying why."""
    with pytest.raises(UsageError, match="Mixup"):
        mixed(labels=labels)
    with pytest.raises(UsageError, match="bad clean"):
        Mixup(5, clean=1.5)


def preprocessor(**options):
    init()
    return MODELS.build({"type": "kdcls.MixingPreprocessor", "mean": [0.5], "std": [0.25], **options})


def test_only_training_batches_are_mixed():
    """Validation on mixed images would measure nothing."""
    data = {"inputs": torch.rand(4, 1, 8, 8), "labels": torch.tensor([0, 1, 2, 3])}
    mixing = preprocessor(batch_augments={"type": "kdcls.Mixup", "num_classes": 5})
    assert torch.equal(mixing(dict(data))["labels"], data["labels"])
    torch.testing.assert_close(mixing(dict(data))["inputs"], (data["inputs"] - 0.5) / 0.25)
    assert mixing(dict(data), True)["labels"].shape == (4, 5)
    assert torch.equal(preprocessor()(dict(data), True)["labels"], data["labels"])
    with pytest.raises(UsageError, match="together with their labels"):
        mixing({"inputs": data["inputs"]}, True)


def test_timm_mixes_too():
    """CutMix is there already; a second one would be a twin."""
    mixing = preprocessor(
        batch_augments={"type": "timm.data.Mixup", "mixup_alpha": 0.8, "cutmix_alpha": 1.0, "num_classes": 5}
    )
    labels = mixing({"inputs": torch.rand(4, 1, 8, 8), "labels": torch.tensor([0, 1, 2, 3])}, True)["labels"]
    torch.testing.assert_close(labels.sum(1), torch.ones(4))


def net(width, **more):
    return {"type": "kdhub.TorchModel", "net": {"type": "kdcls.DigitNet", "width": width}, **more}


def distiller(loss, batch="student"):
    init()
    student = net(
        4,
        criterion={"type": "kdcls.RescaledCrossEntropy"},
        data_preprocessor={
            "type": "kdcls.MixingPreprocessor",
            "batch_augments": {"type": "kdcls.Mixup", "num_classes": 10, "clean": 0.0},
        },
    )
    return MODELS.build(
        {
            "type": "kdhub.Distiller",
            "student": student,
            "teacher": {"type": "kdhub.ModelTeacher", "model": net(8), "own_weights": True, "batch": batch},
            "objectives": {"one": {"loss": {"type": loss}, "student": "classifier", "teacher": "classifier"}},
        }
    )


def losses(model):
    batch = {"inputs": torch.rand(6, 1, 8, 8), "labels": torch.arange(6)}
    return model(**model.data_preprocessor(batch, training=True), mode="loss")


def test_student_and_teacher_see_one_mixed_batch():
    """Two draws would compare answers about two different images."""
    model = distiller("kdcls.RescaledKL")
    seen = []
    for one in (model.student.net, model.teachers["teacher"].model.net):
        one.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    found = losses(model)
    assert torch.equal(*seen)
    assert found["loss_task"] > 0
    assert found["loss_one"] > 0


def test_a_teacher_of_the_unmixed_images_is_refused():
    """It would be right about images that the student never saw."""
    with pytest.raises(UsageError, match="different images"):
        distiller("kdcls.RescaledKL", batch="raw")


@pytest.mark.parametrize("loss", ["kdcls.PLD", "kdcls.DKD"])
def test_losses_of_hard_labels_refuse_a_mixed_batch(loss):
    """The first of two mixed classes is no label of the image."""
    with pytest.raises(KdhubError, match="soft, as mixup makes them"):
        losses(distiller(loss))
    assert losses(distiller("kdcls.OFAKD"))["loss_one"].isfinite()


def test_augmented_and_mixed_by_timm_a_run_resumes_exactly(image_folder, tmp_path):
    """Timm draws from three generators: torch's, numpy's and Python's. One that no checkpoint holds would show here."""
    root = str(image_folder({"ant": 8, "bee": 8}, size=(40, 36)))
    transform = {
        "type": "timm.data.create_transform",
        "input_size": 16,
        "is_training": True,
        "auto_augment": "rand-m9-mstd0.5-inc1",
        "re_prob": 0.5,
    }
    data = {"type": "kdhub.TorchDataset", "data": {"type": "kdcls.ImageFolder", "root": root, "transform": transform}}
    config = tmp_path / "mixed.py"
    config.write_text(
        f"{_CONFIG}\ntrain_dataloader.update(batch_size=4, dataset={data!r})\nval_dataloader.update(dataset={data!r})\n"
        "mixup = dict(type='timm.data.Mixup', mixup_alpha=0.8, cutmix_alpha=1.0, num_classes=100)\n"
        "model['student']['data_preprocessor']['batch_augments'] = mixup\n"
        "model['student']['net'] = dict(type='kdcls.CifarResNet', depth=8, widths=(4, 4, 8, 8))\n"
        "model['teacher']['model']['net'] = dict(type='kdcls.CifarResNet', depth=8, widths=(4, 8, 8, 8))\n"
        "model['objectives']['logits'].update(student='fc', teacher='fc')\n"
    )
    assert_resume_exact(str(config), at=3, tmp_path=tmp_path, cfg_options={"default_hooks.checkpoint.interval": 2})


_CONFIG = """
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="kdcls.Digits", split="train"),
    collate_fn=dict(type="default_collate"),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="kdcls.Digits", split="val"),
    collate_fn=dict(type="default_collate"),
)
val_evaluator = dict(type="kdhub.Accuracy")
val_cfg = dict()
train_cfg = dict(by_epoch=False, max_iters=6, val_interval=6)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=2e-3))
randomness = dict(seed=0)
model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdhub.TorchModel",
        net=dict(type="kdcls.DigitNet", width=4),
        criterion=dict(type="kdcls.RescaledCrossEntropy"),
        data_preprocessor=dict(
            type="kdcls.MixingPreprocessor", batch_augments=dict(type="kdcls.Mixup", num_classes=10)
        ),
    ),
    teacher=dict(
        type="kdhub.ModelTeacher",
        model=dict(type="kdhub.TorchModel", net=dict(type="kdcls.DigitNet", width=8)),
        own_weights=True,
        batch="student",
    ),
    objectives=dict(
        logits=dict(loss=dict(type="kdcls.RescaledKL"), student="classifier", teacher="classifier", weight=0.9)
    ),
    task_weight=0.1,
)
"""


class Pictures:
    """Each image is its label, one-hot, so image and label must be mixed to the same numbers."""

    targets = (0, 1, 2, 1)

    def __getitem__(self, index):
        return torch.eye(3)[self.targets[index]], self.targets[index]


@given(seed=st.integers(0, 1000), alpha=st.floats(0.1, 4), clean=st.floats(0, 1))
@few
def test_loaded_images_are_mixed_as_their_labels_are(seed, alpha, clean):
    """Image and label mixed with two shares, or with two partners, would teach the wrong class."""
    torch.manual_seed(seed)
    data = MixedData(Pictures(), alpha, clean)
    for index in range(len(data)):
        image, label = data[index]
        torch.testing.assert_close(image, label)
        torch.testing.assert_close(label.sum(), torch.tensor(1.0))


def test_a_tenth_of_the_loaded_images_is_mixed():
    """All mixed is another method, and none is no method."""
    torch.manual_seed(0)
    for clean, low, high in ((0.9, 10, 100), (1.0, 0, 0), (0.0, 500, 1000)):
        data = MixedData(Pictures(), clean=clean)
        mixed = sum(
            float(data[turn % 4][1].max()) < 1 for turn in range(1000)
        )  # a partner of the same class leaves it clean
        assert low <= mixed <= high


def test_what_cannot_be_mixed_as_it_is_loaded_is_named():
    """An image of PIL times 0.3 is an error that nobody understands."""

    class Raw(Pictures):
        def __getitem__(self, index):
            return "image", 0

    with pytest.raises(UsageError, match="mixes tensors"):
        MixedData(Raw())[0]
    with pytest.raises(UsageError, match="says its labels"):
        MixedData([1, 2])
    with pytest.raises(UsageError, match="share from 0 to 1"):
        MixedData(Pictures(), clean=1.5)
    assert MixedData(Pictures()).fingerprint() == MixedData(Pictures(), clean=0.1).fingerprint()
