"""A segmentor leaves a run so that mmseg alone loads it."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, ConcatDataset
from mmengine.registry import MODELS, DefaultScope
from mmseg.datasets import BaseSegDataset
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs
from mmseg.models import EncoderDecoder, TIMMBackbone
from torch import nn

from kdhub.checkpoint import load_weights
from kdhub.engine.native_student import _for_inference
from kdhub.engine.train import train
from kdseg.export import export_student

CLASSES = ("road", "kerb", "sky")
PALETTE = [[128, 64, 128], [0, 0, 192], [70, 130, 180]]
# mmseg's advice on a loss's options
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:mmseg")


def student(pretrained):
    """A real ResNet-18 with a small head, synchronised as in mmseg's own configs."""
    norm = {"type": "SyncBN", "requires_grad": True}
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor",
            "mean": [120.0, 115.0, 100.0],
            "std": [58.0, 57.0, 57.0],
            "bgr_to_rgb": True,
            "size": (64, 64),
        },
        "pretrained": pretrained,
        "backbone": {"type": "ResNetV1c", "depth": 18, "norm_cfg": norm, "norm_eval": False},
        "decode_head": {
            "type": "FCNHead",
            "in_channels": 512,
            "channels": 8,
            "num_convs": 1,
            "num_classes": 3,
            "norm_cfg": norm,
        },
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of two steps, and the picture it is asked about."""
    folder = tmp_path_factory.mktemp("run")
    generator = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for index in range(2):
        cv2.imwrite(str(folder / f"images/{index}.jpg"), generator.integers(0, 256, (80, 96, 3), dtype=np.uint8))
        cv2.imwrite(str(folder / f"masks/{index}.png"), generator.integers(0, 3, (80, 96), dtype=np.uint8))
    weights = folder / "imagenet.pth"
    with torch.random.fork_rng(devices=[]), DefaultScope.overwrite_default_scope("mmseg"):
        torch.manual_seed(0)
        torch.save(MODELS.build(student(None)["backbone"]).state_dict(), weights)
    read, labels, pack = ({"type": name} for name in ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs"))
    pipelines = {
        "train": [read, labels, {"type": "RandomCrop", "crop_size": (64, 64)}, pack],
        "val": [read, {"type": "Resize", "scale": (72, 60)}, labels, pack],
    }
    loaders = {
        f"{part}_dataloader": {
            "batch_size": 2,
            "num_workers": 0,
            "sampler": {"type": "InfiniteSampler" if part == "train" else "DefaultSampler", "shuffle": False},
            "dataset": {
                "type": "BaseSegDataset",
                "data_root": str(folder),
                "data_prefix": {"img_path": "images", "seg_map_path": "masks"},
                "metainfo": {"classes": CLASSES, "palette": PALETTE},
                "pipeline": pipeline,
            },
        }
        for part, pipeline in pipelines.items()
    }
    cfg = Config(
        {
            "default_scope": "mmseg",
            "model": {
                "type": "kdhub.Distiller",
                "student": student(str(weights)),
                "teacher": {"type": "kdhub.ModelTeacher", "model": student(None)},
                "objectives": {
                    "boundary": {
                        "loss": {"type": "kdseg.BPKDLoss"},
                        "student": "decode_head.conv_seg",
                        "teacher": "decode_head.conv_seg",
                    }
                },
            },
            **loaders,
            "val_evaluator": {"type": "IoUMetric"},
            "val_cfg": {"type": "ValLoop"},
            "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 2, "val_interval": 2},
            "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 1e-3}},
            "randomness": {"seed": 0},
            "work_dir": str(folder / "work"),
        }
    )
    result = train(cfg)
    weights.unlink()  # the student must not ask for it again
    return cfg, result, generator.integers(0, 256, (90, 100, 3), dtype=np.uint8)


ALONE = """
import sys, warnings
class NoKdhub:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("kdhub", "kdseg"):
            raise ImportError(name)
sys.meta_path.insert(0, NoKdhub())
import numpy
from mmseg.apis import inference_model, init_model
warnings.simplefilter("error")
warnings.filterwarnings("ignore", "Default ``avg_non_ignore``")  # advice on a loss that is not used here
model = init_model("student/config.py", "student/student.pth", device="cpu")
assert model.dataset_meta["classes"] == ("road", "kerb", "sky"), model.dataset_meta
assert model.dataset_meta["palette"][1] == [0, 0, 192], model.dataset_meta
found = inference_model(model, numpy.load("image.npy"))
numpy.savez("found.npz", labels=found.pred_sem_seg.data.numpy(), logits=found.seg_logits.data.numpy())
"""


def test_mmseg_alone_gives_the_same_labels(finished):
    """A student that needs the tool it was trained with cannot be handed on."""
    cfg, result, image = finished
    np.save(result.work_dir / "image.npy", image)
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, cwd=result.work_dir, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with DefaultScope.overwrite_default_scope("mmseg"):
        trained = MODELS.build({**cfg.model.student, "pretrained": None}).eval()
        load_weights(trained, result.work_dir / "iter_2.pth")
        pipeline = [step for step in cfg.val_dataloader.dataset.pipeline if step["type"] != "LoadAnnotations"]
        sample = Compose([{"type": "LoadImageFromNDArray"}, *pipeline[1:]])({"img": image})
    with torch.no_grad():
        (expected,) = trained.test_step({"inputs": [sample["inputs"]], "data_samples": [sample["data_samples"]]})
    found = np.load(result.work_dir / "found.npz")
    assert found["labels"].shape == (1, 90, 100)
    assert len(np.unique(found["labels"])) > 1, "a constant answer would equal any other"
    assert np.array_equal(found["labels"], expected.pred_sem_seg.data.numpy())
    np.testing.assert_allclose(found["logits"], expected.seg_logits.data.numpy(), rtol=1e-5)


def test_the_files_hold_what_inference_needs_and_no_more(finished):
    """A left-over `pretrained` is downloaded at every use; a pickled object is refused by torch's own default."""
    _, result, _ = finished
    folder = result.student_path
    assert {file.name for file in folder.iterdir()} == {"config.py", "student.pth"}
    text = (folder / "config.py").read_text()
    assert "pretrained=None" in text
    for word in ("imagenet", "init_cfg", "kdhub", "LoadAnnotations"):
        assert word not in text
    content = torch.load(folder / "student.pth")
    assert content["meta"] == {"dataset_meta": {"classes": CLASSES, "palette": PALETTE}}
    assert "init_model('student/config.py', 'student/student.pth', device='cpu')" in (
        (result.work_dir / "run.json").read_text()
    )


def test_what_a_student_needs_of_its_own_is_kept(tmp_path):
    """A backbone from the user's own module is not found by mmseg unless the config imports it."""
    cfg = {
        "model": {**student(None), "backbone": {**student(None)["backbone"], "init_cfg": [{"type": "Kaiming"}]}},
        "custom_imports": {"imports": ["kdhub.autoload", "my.backbone"], "allow_failed_imports": False},
        "test_dataloader": {"dataset": {"type": "RepeatDataset", "dataset": {"pipeline": [{"type": "mmseg.Pack"}]}}},
    }
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(student(None))
    export_student(model, tmp_path, cfg, {})
    text = (tmp_path / "config.py").read_text()
    assert "'my.backbone'" in text
    assert "kdhub" not in text
    assert "test_pipeline = [\n    dict(type='mmseg.Pack'),\n]" in text
    assert torch.load(tmp_path / "student.pth")["meta"] == {}


def test_a_config_may_name_classes_and_join_data_sets(tmp_path):
    """Configs in mmengine's new style ended in an AttributeError when training was over; joined data lost their pipeline."""
    model = {**student(None), "type": EncoderDecoder}
    pipeline = [{"type": LoadAnnotations}, {"type": PackSegInputs}]
    joined = {"type": ConcatDataset, "datasets": [{"type": BaseSegDataset, "pipeline": pipeline}]}
    with DefaultScope.overwrite_default_scope("mmseg"):
        built = MODELS.build(model)
    export_student(built, tmp_path, {"model": model, "test_dataloader": {"dataset": joined}}, {})
    found = Config.fromfile(tmp_path / "config.py")
    assert [step["type"] for step in found.test_pipeline] == ["mmseg.datasets.transforms.formatting.PackSegInputs"]
    with DefaultScope.overwrite_default_scope("mmseg"):
        assert isinstance(MODELS.build(found.model), EncoderDecoder)


@pytest.mark.parametrize("place", ["student", "distiller", "top"])
def test_the_preprocessor_in_force_is_exported(tmp_path, place):
    """A student whose config lacks it sees unnormalised images, wherever it is loaded."""
    alone = student(None)
    preprocessor = alone.pop("data_preprocessor")
    cfg = {"model": {"type": "kdhub.Distiller", "student": alone}}
    {"student": alone, "distiller": cfg["model"], "top": cfg}[place]["data_preprocessor"] = preprocessor
    with DefaultScope.overwrite_default_scope("mmseg"):
        built = MODELS.build({**alone, "data_preprocessor": preprocessor})
        export_student(built, tmp_path, cfg, {})
        loaded = MODELS.build(Config.fromfile(tmp_path / "config.py").model)
    assert loaded.data_preprocessor.mean.flatten().tolist() == [120.0, 115.0, 100.0]


def test_others_are_left_to_others(tmp_path):
    """`None` means "not mine"; anything else would stop the core from saving the student."""
    assert export_student(nn.Linear(2, 2), tmp_path, {"model": {}}, {}) is None
    with DefaultScope.overwrite_default_scope("mmseg"):
        built = MODELS.build(student(None))
    assert export_student(built, tmp_path, {"model": built}, {}) is None
    assert not list(tmp_path.iterdir())


def test_mmseg_is_not_imported_for_another_student(tmp_path):
    """Every run exports; a retrieval run must not pay seconds for a library it does not use."""
    program = (
        "import sys, pathlib, torch; from kdseg.export import export_student\n"
        "assert export_student(torch.nn.Linear(2, 2), pathlib.Path(sys.argv[1]), {}, {}) is None\n"
        "assert not [name for name in sys.modules if name.startswith(('mmseg', 'mmcv'))]"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("given", "written"), [({"pretrained": True}, False), ({}, False), ({"pretrained": "x.pth"}, None)]
)
@pytest.mark.parametrize("name", ["TIMMBackbone", "mmseg.TIMMBackbone", TIMMBackbone])
def test_an_exported_timm_backbone_downloads_nothing(name, given, written):
    """Its default is to fetch ImageNet weights: loading the student would need a network, and overwrite nothing."""
    backbone = {"type": name, "model_name": "tf_efficientnet_lite0", **given}
    assert _for_inference({"backbone": backbone}, frozenset())["backbone"]["pretrained"] is written
