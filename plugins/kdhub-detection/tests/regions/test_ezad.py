"""EZAD from end to end with a tiny CLIP: three stages, each alone, and a student of plain mmdet that takes other names."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmdet.apis import init_detector
from mmdet.datasets import CocoDataset
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead, Shared2FCBBoxHead, Shared4Conv1FCBBoxHead
from PIL import Image
from torchvision.ops import box_iou
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

import kdhub
from kddet.data.coco_names import BASE, NOVEL
from kddet.regions.attach import RegionTeacher, moved, see_that_only_resized
from kddet.regions.baked import baked_config, baked_weights, class_rows, rename, write_open
from kddet.regions.image_text import STAND_IN, load_image_text
from kddet.regions.names import NameBank
from kddet.regions.propose_job import propose_regions
from kddet.regions.region_files import RegionFiles
from kddet.regions.semantic_regressor import SemanticRegressor
from kddet.regions.text_classifier import TextClassifier
from kdhub.api import UsageError, load_config
from kdhub.cli.main import main

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:mmdet"),
    pytest.mark.filterwarnings("ignore::UserWarning:mmengine"),
    pytest.mark.filterwarnings("ignore::ImportWarning"),
    pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning"),
    pytest.mark.timeout(300),
]


def bank(count, width=6, seed=0):
    embeddings = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return NameBank(tuple(f"name {n}" for n in range(count)), embeddings)


def box_head(names, kind=ConvFCBBoxHead, **options):
    """A head of random weights whose classes are names; the background's vector is longer than 1."""
    kdhub.init()
    torch.manual_seed(0)
    size = {"in_channels": 4, "conv_out_channels": 4, "fc_out_channels": 8, "roi_feat_size": 2}
    given = {"num_classes": len(names.names), "reg_class_agnostic": False} | size | options
    head = kind(
        cls_predictor_cfg={"type": "kddet.TextClassifier", "names": names},
        reg_predictor_cfg={"type": "kddet.SemanticRegressor", "names": names},
        **given,
    ).eval()
    with torch.no_grad():
        head.fc_cls.background.mul_(7)
        for parameter in head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return head


def plain_of(head, options):
    given = {"type": type(head).__name__, "reg_class_agnostic": False} | options
    config = baked_config({"roi_head": {"type": "kddet.RegionRoIHead", "bbox_head": given}}, head)["roi_head"][
        "bbox_head"
    ]
    assert config.pop("type") == "ConvFCBBoxHead"
    plain = ConvFCBBoxHead(**config).eval()

    weights = baked_weights({f"h.{k}": v for k, v in head.state_dict().items()}, head, "h.")
    plain.load_state_dict({name.removeprefix("h."): value for name, value in weights.items()})
    return plain


HEADS = {
    "the paper's": {"num_shared_convs": 1, "num_cls_convs": 1, "num_cls_fcs": 2, "num_reg_convs": 1, "num_reg_fcs": 2},
    "two shared layers": {"num_shared_fcs": 2},
    "convolutions alone": {"num_cls_convs": 1, "num_reg_convs": 1},
}


HEADS_OF_FIXED_LAYERS = {"Shared2FC": Shared2FCBBoxHead, "Shared4Conv1FC": Shared4Conv1FCBBoxHead}
CASES = [(ConvFCBBoxHead, options) for options in HEADS.values()]
CASES += [(kind, {}) for kind in HEADS_OF_FIXED_LAYERS.values()]


@pytest.mark.parametrize(("kind", "options"), CASES, ids=[*HEADS, *HEADS_OF_FIXED_LAYERS])
def test_a_plain_head_scores_and_moves_the_same(kind, options):
    """The exported student is what users run; a weight in the wrong column, or a layer left out, would show in AP alone."""
    names = bank(5)
    head = box_head(names, kind, **options)
    features = torch.randn(7, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    size = {"in_channels": 4, "conv_out_channels": 4, "fc_out_channels": 8, "roi_feat_size": 2, "num_classes": 5}
    plain = plain_of(head, options | size)
    with torch.no_grad():
        for ours, theirs in zip(head(features), plain(features), strict=True):
            torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)


def test_a_plain_detector_takes_other_names(tmp_path):
    """Baked in and then renamed must be what renamed and then baked in is, boxes included."""
    head, other = box_head(bank(5), num_cls_fcs=1, num_reg_fcs=1), bank(3, seed=9)
    write_open(tmp_path, head, bank(5))
    size = {"in_channels": 4, "conv_out_channels": 4, "fc_out_channels": 8, "roi_feat_size": 2, "num_classes": 5}
    detector = torch.nn.Module()
    detector.roi_head = torch.nn.Module()
    detector.roi_head.bbox_head = plain_of(head, {"num_cls_fcs": 1, "num_reg_fcs": 1} | size)
    rename(detector, tmp_path, other)
    head.fc_cls.rename(other)
    head.fc_reg.rename(other)
    features = torch.randn(4, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for ours, theirs in zip(head(features), detector.roi_head.bbox_head(features), strict=True):
            torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
    assert detector.roi_head.bbox_head.num_classes == 3
    with pytest.raises(UsageError, match=r"another text model.*width 6.*got 4"):
        rename(detector, tmp_path, bank(3, width=4))
    with pytest.raises(UsageError, match="no names to replace"):
        rename(detector, tmp_path / "none", other)


def test_regressor_by_hand():
    """W = (2 | 3, 5), x = 7, e = (0.6, 0.8): 14 + 1.8 + 4 = 19.8; without the name's columns it is a class-agnostic one."""
    names = NameBank(("a", "b"), torch.tensor([[0.6, 0.8], [1.0, 0.0]]))
    regressor = SemanticRegressor(1, 8, names)
    with torch.no_grad():
        regressor.linear.weight.copy_(torch.tensor([[2.0, 3.0, 5.0]] * 4))
        regressor.linear.bias.zero_()
    moves = regressor(torch.tensor([[7.0]]))
    assert moves[0].tolist() == pytest.approx([19.8] * 4 + [17.0] * 4)
    with torch.no_grad():
        regressor.linear.weight[:, 1:] = 0
    assert regressor(torch.tensor([[7.0]]))[0].tolist() == pytest.approx([14.0] * 8)
    with pytest.raises(UsageError, match="SemanticRegressor: the bank .*4 numbers for each of 2"):
        SemanticRegressor(1, 4, names)


def test_a_novel_name_is_no_class_while_training():
    """A novel object among the negatives would be taught to be none of the names, its own included."""
    classifier = TextClassifier(3, 6, bank(5), trained=["name 0", "name 3"])
    features = torch.randn(2, 3)
    logits = classifier.train()(features)
    assert logits.isinf().tolist() == [[False, True, True, False, True, False]] * 2
    torch.nn.functional.cross_entropy(logits, torch.tensor([3, 5])).backward()
    assert classifier.map_to_text.weight.grad.isfinite().all()
    assert classifier.eval()(features).isfinite().all()
    assert class_rows(bank(5).embeddings, classifier.background, 13).norm(dim=1).std() < 1e-6


def test_regions_move_with_the_image():
    """A file of 100 x 50 at half size and mirrored: 10..30 of 50 becomes 20..40 of 50."""
    boxes = moved(torch.tensor([[20.0, 10, 60, 30]]), (50, 100), (0.5, 0.5), flip=True)
    assert boxes.tolist() == [[20.0, 5.0, 40.0, 15.0]]


FLIP = [[-0.5, 0, 50], [0, 0.5, 0], [0, 0, 1]]
FOLLOWED = {
    "resized": ((25, 50), False, None),
    "rounded": ((26, 49), False, None),
    "padded": ((32, 64), False, None),
    "flipped": ((25, 50), True, FLIP),
    "flipped, then padded": ((32, 64), True, FLIP),
    "flipped and padded below": ((32, 50), True, None),
}
REFUSED = {
    "cropped": ((25, 40), False, None),
    "resized twice": ((12, 25), False, None),
    "padded and flipped in an unknown order": ((32, 64), True, None),
    "padded, then flipped": ((32, 64), True, [[-0.5, 0, 64], [0, 0.5, 0], [0, 0, 1]]),
    "cropped and padded": ((25, 50), False, [[0.5, 0, -9], [0, 0.5, 0], [0, 0, 1]]),
    "turned": ((25, 50), False, [[0.4, 0.3, 0], [-0.3, 0.4, 0], [0, 0, 1]]),
}


def test_images_that_regions_cannot_follow():
    """Boxes that are off by a crop teach each region the embedding of another, and the loss falls all the same."""
    for after, flip, matrix in FOLLOWED.values():
        see_that_only_resized((50, 100), after, (0.5, 0.5), flip, matrix)
    for after, flip, matrix in REFUSED.values():
        with pytest.raises(UsageError, match=r"cannot follow .*about 25 x 50.*crop, turn or resize"):
            see_that_only_resized((50, 100), after, (0.5, 0.5), flip, matrix)


def test_mistakes_that_detect_tells_at_once(tmp_path, monkeypatch, capsys):
    """A typing error in --out ended in a traceback when everything was computed."""
    monkeypatch.chdir(tmp_path)
    for name in ("config.py", "student.pth"):
        Path(name).touch()
    Image.new("RGB", (8, 8)).save("a.png")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for options, said in {
        ("--out", "found.txt"): "no kind of picture has this ending",
        ("--out", "none/found.png"): "no such folder",
        ("--device", "cuda"): "no GPU that torch can use",
        ("--device", "gpu"): "no such device",
    }.items():
        assert main(["detect", ".", "a.png", *options]) == 2
        assert said in capsys.readouterr().err


def test_packages_that_are_not_there(monkeypatch):
    """What to install is the answer; "give its folder with --text-model" is none."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    for model in ("clip", STAND_IN):
        with pytest.raises(UsageError, match=r"not installed.*pip install 'kdhub-detection\["):
            load_image_text(model)


def test_the_split_of_the_recipe():
    """The configs repeat the names, since a config imports nothing."""
    cfg = load_config("kddet:ezad")
    in_order = [name for name in CocoDataset.METAINFO["classes"] if name in (*BASE, *NOVEL)]
    assert (tuple(cfg.base), list(cfg.names)) == (BASE, in_order)


def tiny_clip(folder):
    """Save a CLIP with a vocabulary of letters; return it."""
    folder.mkdir()
    letters = [*"abcdefghijklmnopqrstuvwxyz", *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz")]
    tokens = {token: number for number, token in enumerate(["<|startoftext|>", "<|endoftext|>", *letters])}
    (folder / "vocab.json").write_text(json.dumps(tokens))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    layers = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = layers | {"vocab_size": len(tokens), "max_position_embeddings": 40, "bos_token_id": 0, "eos_token_id": 1}
    torch.manual_seed(0)
    config = CLIPConfig(text_config=text, vision_config=layers | {"image_size": 32, "patch_size": 16}, projection_dim=8)
    model = CLIPModel(config)
    model.save_pretrained(folder)
    return model


STAGES = {
    "a.py": """_base_ = ["kddet:ezad-adapt"]
model = dict(model="clip")
train_dataloader = dict(batch_size=2, dataset=dict(size=32))
train_cfg = dict(max_iters=2)
work_dir = "run/adapted"
""",
    "b.py": """_base_ = ["kddet:ezad-regions"]
predecessors = dict(_delete_=True, adapted="a.py")
job = dict(scale=(96, 96), stride=32, scales=(1, 2), candidates=6, keep=4, novel_only=False)
work_dir = "run/regions"
""",
    "c.py": """_base_ = ["kddet:ezad"]
predecessors = dict(_delete_=True, regions="b.py")
train_dataloader = dict(batch_size=2)
train_cfg = dict(max_iters=1, val_interval=1)
work_dir = "run/student"
""",
}


def test_three_stages_by_one_command(small_coco_cc, capsys):
    """Names, boxes and embeddings pass from stage to stage through files; none of the stages sees it if they do not fit."""
    before = tiny_clip(Path("clip")).state_dict()
    for name, text in STAGES.items():
        Path(name).write_text(text)
    assert main(["train", "c.py"]) == 0
    # A: LayerNorms alone, and transformers loads it
    after = CLIPModel.from_pretrained("run/adapted/student").state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("norm" in name or "layrnorm" in name for name in changed)
    # B: the person is a base box, the cat is not; proposals keep away from the person alone
    regions = RegionFiles("run/regions").of(0)
    assert regions.boxes[regions.base].tolist() == [[8, 8, 48, 48]]
    assert regions.weights[regions.base].tolist() == [1]
    assert 0 < (~regions.base).sum() <= 4
    assert (regions.scores[~regions.base].diff() <= 0).all()
    # C: distils, evaluates both groups, and plain mmdet loads the student
    (scalars,) = Path("run/student").rglob("scalars.json")
    assert json.loads(scalars.read_text().splitlines()[0])["loss_regions"] > 0
    card = json.loads(Path("run/student/run.json").read_text())
    assert {"coco/AP_base", "coco/AP_novel"} <= set(card["evaluations"][-1]["metrics"])
    # the report shows what taught it
    assert "0: regions that teach" in Path("run/student/report.html").read_text()
    assert "kddet" not in Path("run/student/student/config.py").read_text()
    detector = init_detector("run/student/student/config.py", "run/student/student/student.pth", device="cpu")
    assert detector.dataset_meta["classes"] == tuple(load_config("kddet:ezad").names)
    # nothing is done twice
    times = [Path("run", stage, "run.json").stat().st_mtime for stage in ("adapted", "regions")]
    assert main(["train", "b.py"]) == 0
    assert times == [Path("run", stage, "run.json").stat().st_mtime for stage in ("adapted", "regions")]
    # the rivals' regions: the base box is the same, each proposal weighs 1, and a second run draws the same anchors
    names = load_config("kddet:ezad-regions").job.names
    common = ("run/adapted/student", "data/coco_cc/train/instances.json", "data/coco_cc/train", ["person"], names)
    for by, detector in (("rpn", "run/student/student"), ("random", None), ("again", None)):
        (rival := Path(by)).mkdir()
        how = "random" if by == "again" else by
        propose_regions(rival, *common, how, detector, (96, 96), candidates=4, novel_only=False)
        found = RegionFiles(by).of(0)
        assert found.boxes[found.base].tolist() == [[8, 8, 48, 48]]
        assert 0 < (~found.base).sum() <= 4
        assert found.weights.tolist() == [1.0] * len(found.weights)
        assert box_iou(found.boxes[~found.base], found.boxes[found.base]).max() < 0.3
    assert RegionFiles("random").of(0).boxes.equal(RegionFiles("again").of(0).boxes)
    assert not RegionFiles("random").of(0).boxes.equal(RegionFiles("rpn").of(0).boxes)
    # labels in another order are told before the first step
    distiller = torch.nn.Sequential(TextClassifier(2, 66, NameBank.read("run/regions/names.safetensors")))
    loader = SimpleNamespace(dataset=SimpleNamespace(metainfo={"classes": [*NOVEL, *BASE]}))
    with pytest.raises(UsageError, match="not the names of the bank, in its order"):
        RegionTeacher("run/regions").prepare(distiller, "teacher", {}, loader)
    # other names, by the adapted text side
    capsys.readouterr()
    options = ["--names", "zebra,traffic_light", "--threshold", "0", "--json", "--out", "found.png"]
    assert main(["detect", "run/student", "data/coco_cc/val/0.jpg", *options]) == 0
    found = json.loads(capsys.readouterr().out)["objects"]
    assert {one["name"] for one in found} <= {"zebra", "traffic_light"}
    assert found
    assert Path("found.png").stat().st_size > 1000
    assert main(["detect", "run/student", "none.jpg"]) == 2
    assert main(["detect", "run", "data/coco_cc/val/0.jpg"]) == 2
