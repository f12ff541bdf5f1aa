"""`--deep`: what only an import can tell."""

import subprocess
import sys
import textwrap

import pytest

from kdhub.config import check_config


def test_an_unknown_name_in_mmengine_is_found(check, valid):
    """A name may stand in a package's source and be registered nowhere: only an import tells."""
    valid["optim_wrapper"]["optimizer"]["type"] = "AdmW"
    (finding,) = check(valid, deep=True)
    assert finding.path == "optim_wrapper.optimizer.type"
    assert "Adam" in finding.near or "AdamW" in finding.near


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("custom_hooks", [{"type": "EmaHook"}]),
        ("param_scheduler", [{"type": "LinerLR"}]),
        ("visualizer", {"type": "Visualiser"}),
        ("log_processor", {"type": "LogProcesor"}),
        ("model_wrapper_cfg", {"type": "DDP"}),
    ],
)
def test_every_root_is_asked_for_its_own(check, valid, path, value):
    """Each place of a config is built from another registry."""
    valid[path] = value
    assert [finding.path.split(".")[0] for finding in check(valid, deep=True)] == [path]


def test_a_component_that_cannot_be_imported_is_found(check, valid):
    """A missing extra would otherwise stop the run after the teacher was loaded."""
    valid["model"]["student"] = {"type": "kdcheck.Unimportable"}
    for deep in (False, True):  # by its source, and by the import
        found = check(valid, deep=deep)
        assert {finding.path for finding in found} == {"model.student.type"}
        assert any("kdcheck" in one.message and "a_library_that_nobody_has" in one.message for one in found)


def test_a_type_that_custom_imports_registers_is_found(check, valid):
    """Local experiments register under names that no manifest lists."""
    from mmengine.registry import MODELS

    @MODELS.register_module(name="LocalStudent")
    class LocalStudent:
        def __init__(self, width):
            pass

    try:
        valid["model"]["student"] = {"type": "LocalStudent", "widht": 3}
        found = check(valid, deep=True)
    finally:
        MODELS.module_dict.pop("LocalStudent")
    assert {finding.path for finding in found} == {"model.student.widht", "model.student"}


def test_a_class_instead_of_a_name_is_checked(check, valid):
    """Configs made in Python may hold the class itself; its signature is known without --deep."""
    from kdcheck.parts import Student

    valid["model"]["student"] = {"type": Student, "widht": 3}
    assert {finding.path for finding in check(valid)} == {"model.student.widht", "model.student"}
    assert {finding.path for finding in check(valid, deep=True)} == {"model.student.widht", "model.student"}


def test_an_import_path_is_looked_up(check, valid):
    """A dotted path is mmengine's last resort, and fails only when the model is built."""
    valid["model"]["student"] = {"type": "mmengine.model.BaseModle"}
    (finding,) = check(valid, deep=True)
    assert finding.path == "model.student.type"


def test_a_package_that_is_not_there_is_found_in_depth_too(check, valid):
    """The registry would only say that the name is unknown."""
    valid["model"]["student"] = {"type": "mmpose.TopdownPoseEstimator"}
    (finding,) = check(valid, deep=True)
    assert "'mmpose' is not installed" in finding.message


def test_a_config_object_is_checked_like_a_mapping(manager, valid):
    """Training hands over mmengine's Config, tests and notebooks plain dicts."""
    from mmengine.config import Config

    valid["model"]["student"]["widht"] = 1
    assert check_config(Config(valid), manager).findings == check_config(valid, manager).findings


def test_the_order_of_keys_does_not_matter():
    """Data written before the model were looked up before anything had imported mmengine's samplers: six invented errors."""
    program = """
        from kdhub.config import check_config
        from kdhub.registry import init

        loader = dict(batch_size=1, sampler=dict(type="InfiniteSampler"), collate_fn=dict(type="default_collate"),
                      dataset=dict(type="ConcatDataset", datasets=[]))
        cfg = dict(train_dataloader=loader, train_cfg=dict(type="IterBasedTrainLoop", max_iters=1),
                   optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1)),
                   param_scheduler=dict(type="LinearLR", start_factor=0.5), custom_hooks=[dict(type="EMAHook")],
                   model=dict(type="BaseDataPreprocessor"))
        for finding in check_config(cfg, init(), deep=True).errors:
            print(finding.line())
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert run.stdout == ""
