"""What student, teacher and data must agree on, found before anything is built."""

import copy
import subprocess
import sys

import pytest

import kdhub
from kdhub.findings import Report
from kdseg import config_rules
from kdseg.config_rules import CLASSES, check
from kdseg.operators import NEED_MMDET, NEED_OPERATORS


def segmentor(classes=19, size=(512, 1024), head="FCNHead", **more):
    """The parts of a segmentor's config that the rules read."""
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": {"type": "SegDataPreProcessor", "size": size},
        "decode_head": {"type": head, "num_classes": classes},
        **more,
    }


def config(student=None, teacher=None, **teacher_options):
    """A pair on Cityscapes that is in order."""
    return {
        "model": {
            "type": "kdhub.Distiller",
            "student": student or segmentor(),
            "teacher": {"type": "kdhub.ModelTeacher", "model": teacher or segmentor(), **teacher_options},
            "objectives": {
                "boundary": {
                    "loss": {"type": "kdseg.BPKDLoss"},
                    "student": "decode_head.conv_seg",
                    "teacher": "decode_head.conv_seg",
                }
            },
        },
        "train_dataloader": {
            "dataset": {
                "type": "CityscapesDataset",
                "pipeline": [
                    {"type": "LoadImageFromFile"},
                    {"type": "LoadAnnotations"},
                    {"type": "RandomCrop", "crop_size": (512, 1024)},
                    {"type": "PackSegInputs"},
                ],
            }
        },
    }


def test_frames_are_compared_by_the_preprocessor_in_force(tmp_path):
    """Configs of mmseg keep it at their top, where the rule did not look: padded differently, and nothing was said."""
    model = segmentor()
    preprocessor = model.pop("data_preprocessor")
    (tmp_path / "teacher.py").write_text(
        f"model = {model!r}\ndata_preprocessor = {preprocessor | {'size': (8, 8)}!r}\n"
    )
    cfg = config(model, str(tmp_path / "teacher.py"))
    cfg["data_preprocessor"] = preprocessor
    assert set(found(cfg)) == {("model.teacher.model", "warning")}


def found(cfg):
    """Findings as path and level."""
    kdhub.init()
    report = Report()
    check(cfg, report)
    return {(finding.path, finding.level): finding.line() for finding in report.findings}


def test_a_pair_in_order_has_no_findings():
    """A rule that cries wolf stops every run."""
    assert found(config()) == {}


@pytest.mark.parametrize(
    "cfg",
    [
        {},
        {"model": "built elsewhere"},
        {
            "model": {
                "type": "kdhub.Distiller",
                "student": {"type": "kdret.SentenceEncoder"},
                "teacher": {"model": "no.py"},
            }
        },
        {
            "model": {
                "type": "kdhub.Distiller",
                "student": segmentor(),
                "teacher": None,
                "objectives": {"a": 1, "b": {}},
            }
        },
        {"model": segmentor(), "train_dataloader": {"dataset": {"pipeline": None}}},
    ],
)
def test_other_and_malformed_configs_are_left_to_the_core(cfg):
    """A rule that raises becomes a finding against the plugin, in the runs of everybody."""
    assert found(cfg) == {}


def test_logits_of_other_classes_are_not_compared():
    """ADE20K's 150 logits beside Cityscapes' 19 stop training only after both networks were built and loaded."""
    lines = found(config(teacher=segmentor(classes=150)))
    (line,) = lines.values()
    assert set(lines) == {("model.objectives.boundary.teacher", "error")}
    assert "expected 19" in line
    assert "got 150" in line


@pytest.mark.parametrize(
    "change",
    [
        {"loss": {"type": "kdseg.IFVD"}},
        {"loss": {"type": "my.Loss"}},
        {"adapter": {"type": "kdhub.Conv1x1", "in_channels": 19, "out_channels": 150}},
        {"teacher": "decode_head.convs.0"},
        {"teacher": {"type": "kdhub.ModuleOutput", "path": "backbone"}},
    ],
)
def test_what_is_no_logit_may_differ(change):
    """Features have any width, an adapter mends it, and what a foreign loss does is not known."""
    cfg = config(teacher=segmentor(classes=150))
    cfg["model"]["objectives"]["boundary"].update(change)
    assert found(cfg) == {}


def test_heads_of_a_cascade_and_named_teachers_are_found():
    """OCRNet has a list of heads, and with two teachers a tap says whose it is."""
    cascade = segmentor()
    cascade["decode_head"] = [{"num_classes": 21}, {"num_classes": 19, "out_channels": 1}]
    cfg = config()
    cfg["model"].pop("teacher")
    cfg["model"]["teachers"] = {"good": {"model": segmentor()}, "odd": {"model": cascade}}
    objective = cfg["model"]["objectives"]["boundary"]
    for tap, got in (
        ("good:decode_head.conv_seg", None),
        ("odd:decode_head.0.conv_seg", 21),
        ("odd:decode_head.1.conv_seg", 1),
    ):
        objective["teacher"] = {"type": "kdhub.ModuleOutput", "path": tap}
        lines = found(cfg)
        assert bool(lines) == (got is not None), tap
        assert all(f"got {got}" in line for line in lines.values())


@pytest.mark.parametrize(
    ("size", "level"),
    [((512, 1024), None), ((768, 1024), "error"), (1024, "error"), ((512, 512), "warning")],
)
def test_student_and_teacher_see_one_frame(size, level):
    """Padding one of the two moves what a position of the logit map means, and every loss stays plausible."""
    lines = found(config(teacher=segmentor(size=size)))
    assert set(lines) == ({("model.teacher.model.data_preprocessor", level)} if level else set())
    assert found(config(teacher=segmentor(size=size), batch="student")) == {}


@pytest.mark.parametrize(("divisor", "level"), [(32, "warning"), (600, "error")])
def test_a_divisor_pads_as_far_as_the_crop_needs(divisor, level):
    """512x1024 is a multiple of 32, so full crops agree; of 600 it is not."""
    teacher = segmentor(data_preprocessor={"type": "mmseg.SegDataPreProcessor", "size_divisor": divisor})
    ((found_at, line),) = found(config(teacher=teacher)).items()
    assert found_at == ("model.teacher.model.data_preprocessor", level)
    assert f"size_divisor={divisor}" in line


def test_without_a_crop_another_size_is_only_suspicious():
    """Images of one size need no padding at all."""
    cfg = config(teacher=segmentor(size=(768, 1024)))
    cfg["train_dataloader"]["dataset"]["pipeline"].pop(2)
    assert set(found(cfg)) == {("model.teacher.model.data_preprocessor", "warning")}


@pytest.mark.parametrize("side", ["student", "teacher"])
@pytest.mark.parametrize(
    ("preprocessor", "got"), [({}, "neither"), ({"size": (4, 4), "size_divisor": 2}, "both")], ids=["neither", "both"]
)
def test_mmsegs_preprocessor_wants_one_way_to_pad(side, preprocessor, got):
    """Mmseg's configs for a data set without crops have none, and fail by an assertion in the first step."""
    bad = segmentor(data_preprocessor={"type": "SegDataPreProcessor", **preprocessor})
    path = {"student": "model.student", "teacher": "model.teacher.model"}[side]
    lines = found(config(**{side: bad}))
    assert set(lines) == {(f"{path}.data_preprocessor", "error")}
    assert f"got {got}" in lines[path + ".data_preprocessor", "error"]


@pytest.mark.parametrize("head", [*NEED_OPERATORS, *NEED_MMDET])
def test_models_without_their_operators_are_told_before_they_are_built(head, monkeypatch):
    """Some of them fail only in the first step, as `NoneType is not callable`."""
    monkeypatch.setattr(config_rules, "has_operators", lambda: False)
    monkeypatch.setattr(config_rules, "has_mmdet", lambda: False)
    lines = found(config(student=segmentor(head=f"mmseg.{head}"), teacher=segmentor(head=head)))
    assert set(lines) == {("model.student.decode_head", "error"), ("model.teacher.model.decode_head", "error")}
    assert all(f"{head} needs" in line and "use " in line for line in lines.values())
    monkeypatch.setattr(config_rules, "has_operators", lambda: True)
    monkeypatch.setattr(config_rules, "has_mmdet", lambda: True)
    assert found(config(student=segmentor(head=head))) == {}


def test_deformable_convolutions_are_operators(monkeypatch):
    """They are switched on by a key of the backbone, not by its name."""
    monkeypatch.setattr(config_rules, "has_operators", lambda: False)
    student = segmentor(backbone={"type": "ResNet", "dcn": {"type": "DCNv2"}})
    assert set(found(config(student=student))) == {("model.student.backbone.dcn", "error")}


def test_a_training_pipeline_loads_labels():
    """Without them the student's own loss fails in the first step, far from the pipeline."""
    cfg = config()
    pipeline = cfg["train_dataloader"]["dataset"]["pipeline"]
    pipeline.pop(1)
    assert set(found(cfg)) == {("train_dataloader.dataset.pipeline", "error")}
    assert found({**cfg, "custom_imports": {"imports": ["mine"]}}) == {}
    pipeline.insert(1, {"type": "mine.LoadMasks"})
    assert found(cfg) == {}


def test_types_may_be_classes():
    """Rules that ask for a name found nothing in a new-style config, and the same mistake cost a start of the run."""
    from mmseg.datasets import CityscapesDataset
    from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs
    from mmseg.models import FCNHead, STDCHead

    class LoadLabels(LoadAnnotations):
        """Somebody's own transform may load them under any name."""

    cfg = config(student=segmentor(classes=18, head=FCNHead), teacher=segmentor(classes=18, head=STDCHead))
    dataset = cfg["train_dataloader"]["dataset"]
    dataset["type"] = CityscapesDataset
    dataset["pipeline"] = [{"type": PackSegInputs}]
    places = {("model.student.decode_head.num_classes", "error")}
    assert set(found(cfg)) == {*places, ("train_dataloader.dataset.pipeline", "error")}
    for loads in (LoadAnnotations, LoadLabels):
        dataset["pipeline"] = [{"type": loads}, {"type": PackSegInputs}]
        assert set(found(cfg)) == places
    cfg["model"]["student"]["decode_head"]["type"] = STDCHead
    assert found(cfg) == {}


@pytest.mark.parametrize("wrapper", ["MultiImageMixDataset", "RepeatDataset"])
def test_the_data_set_inside_another_loads_labels(wrapper):
    """A mosaic has a pipeline of its own, after the labels were loaded; it was refused."""
    cfg = config()
    inside = cfg["train_dataloader"]["dataset"]
    outside = {"type": wrapper, "dataset": inside}
    if wrapper == "MultiImageMixDataset":
        outside["pipeline"] = [{"type": "RandomMosaic", "prob": 1.0}, {"type": "PackSegInputs"}]
    cfg["train_dataloader"]["dataset"] = outside
    assert found(cfg) == {}
    inside["pipeline"].pop(1)
    assert set(found(cfg)) == {("train_dataloader.dataset.pipeline", "error")}


def test_a_head_has_a_logit_for_every_label():
    """On a GPU a label beyond the logits ends the process with a device assertion that names nothing."""
    cfg = config(student=segmentor(classes=18), teacher=segmentor(classes=18))
    assert set(found(cfg)) == {("model.student.decode_head.num_classes", "error")}
    cfg["train_dataloader"]["dataset"]["metainfo"] = {"classes": ["road"]}
    assert found(cfg) == {}
    assert found(config(student=segmentor(classes=20), teacher=segmentor(classes=20))) == {}


def test_the_known_data_sets_have_these_classes():
    """A wrong number stops a good run."""
    from mmengine.registry import DATASETS

    kdhub.init()
    for name, classes in CLASSES.items():
        assert len(DATASETS.get(name if "." in name else f"mmseg.{name}").METAINFO["classes"]) == classes


def test_a_teacher_from_a_file_is_read(tmp_path):
    """Most teachers are a config of mmseg's tree by name, where a slip is as likely as in the config itself."""
    file = tmp_path / "teacher.py"
    file.write_text(f"model = {segmentor(classes=7, size=(9, 9))!r}")
    lines = found(config() | {"model": {**config()["model"], "teacher": {"model": str(file)}}})
    assert set(lines) == {("model.objectives.boundary.teacher", "error"), ("model.teacher.model", "warning")}
    missing = copy.deepcopy(config())
    missing["model"]["teacher"]["model"] = "mmseg::pspnet/pspnet_r110-d8_4xb2-80k_cityscapes-512x1024.py"
    (line,) = found(missing).values()
    assert "did you mean 'mmseg::pspnet/pspnet_r101-d8_4xb2-80k_cityscapes-512x1024.py'" in line


def test_checking_imports_no_torch():
    """`kdhub check` answers within a second because it imports neither torch nor mmseg."""
    program = (
        "import sys, kdhub\nfrom kdhub.findings import Report\nfrom kdseg.config_rules import check\n"
        "kdhub.init()\n"
        "cfg = {'model': {'student': {'decode_head': {'type': 'CCHead', 'num_classes': 19}}, 'teacher': {'model':"
        " 'mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py'}}}\n"
        "report = Report(); check(cfg, report)\n"
        "assert not {'torch', 'mmseg', 'mmcv', 'mmdet'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_weights_that_nobody_made_yet_are_told_with_the_command(tmp_path):
    """Training would stop at "no such checkpoint", and a new user does not know where these weights come from."""
    found = {}
    for name in ("there", "missing"):
        weights = tmp_path / name / "tf_efficientnet_lite0.pth"
        if name == "there":
            weights.parent.mkdir()
            weights.touch()
        backbone = {"type": "TIMMBackbone", "init_cfg": {"type": "Pretrained", "checkpoint": str(weights)}}
        report = Report()
        check(config(student=segmentor(backbone=backbone)), report)
        found[name] = [(one.level, one.path, one.fix) for one in report.findings]
    where = "model.student.backbone.init_cfg.checkpoint"
    assert found["there"] == []
    assert found["missing"] == [("warning", where, "python tools/prepare_data.py efficientnet-lite")]
