"""Types that are no plugin's: found where the libraries of the mmengine family export them, without importing them."""

import sys

import pytest

FAMILY = {
    "mmpose/__init__.py": "raise SystemExit('imported')\n",
    "mmpose/models/__init__.py": "from .backbones import *\n",
    "mmpose/models/backbones/__init__.py": "from .hrnet import HRNet\n__all__ = ['HRNet']\n",
    "mmpose/models/backbones/hrnet.py": "class HRNet:\n    def __init__(self, extra, in_channels=3): ...\n",
    "mmpose/registered.py": "@MODELS.register_module(name='Registered')\nclass Hidden: ...\n",
    "mmpose/evaluation/__init__.py": "from .metrics import PCK\n",
    "mmpose/evaluation/metrics.py": "class PCK:\n    def __init__(self, threshold=0.2): ...\n",
}


@pytest.fixture
def _family(install_fake):
    install_fake("mmpose", files=FAMILY, entry_points={})


@pytest.mark.usefixtures("_family")
@pytest.mark.parametrize("scoped", [True, False])
def test_a_library_is_read_where_it_exports(findings, valid, scoped):
    """Configs of the field are full of such types; importing their libraries takes seconds."""
    prefix = "mmpose." if scoped else ""
    if not scoped:
        valid["default_scope"] = "mmpose"
    valid["model"]["student"] = {"type": f"{prefix}HRNet", "extra": {}, "in_chanels": 3}
    valid["val_evaluator"] = {"type": f"{prefix}PCK", "treshold": 0.1}
    assert set(findings(valid)) == {"model.student.in_chanels", "val_evaluator.treshold"}
    assert "mmpose" not in sys.modules


@pytest.mark.usefixtures("_family")
def test_nested_parts_of_a_library_are_only_warned_of(findings, valid):
    """Whoever builds the part may take keys out first, so a finding there must not stop a run."""
    valid["model"]["student"] = {
        "type": "mmpose.HRNet",
        "extra": {
            "neck": {"type": "mmpose.HRNet", "in_chanels": 3},
            "norm_cfg": {"type": "mmpose.HRNet", "requires_grad": True},
        },
    }
    found = findings(valid)
    assert [finding.level for finding in found.values()] == ["warning"]
    assert list(found) == ["model.student.extra.neck.in_chanels"]


@pytest.mark.usefixtures("_family")
def test_a_name_that_is_registered_and_not_exported_passes(findings, valid):
    """Only an import tells what it is, so that a check without one that refused it would refuse right configs."""
    valid["model"]["student"] = {"type": "mmpose.Registered", "anything": 1}
    assert findings(valid) == {}
    valid["model"]["student"] = {"type": "mmpose.Regstered"}
    assert findings(valid)["model.student.type"].message == "unknown type 'mmpose.Regstered'"


@pytest.mark.parametrize(
    ("path", "type_", "near"),
    [
        ("optim_wrapper", "OptimWrappper", "OptimWrapper"),
        ("optim_wrapper.optimizer", "AdamWW", "AdamW"),
        ("model.student", "resnet18", None),
        ("model.student", "mmengine.BaseModl", "BaseModel"),
        ("train_cfg", "EpochBasedTrainLop", "EpochBasedTrainLoop"),
        ("train_dataloader.sampler", "DefaultSamplr", "DefaultSampler"),
        ("train_dataloader.collate_fn", "default_colate", "default_collate"),
        ("param_scheduler.0", "LinerLR", "LinearLR"),
        ("custom_hooks.0", "EMAHok", "EMAHook"),
        ("visualizer", "Visualiser", "Visualizer"),
        ("log_processor", "LogProcesor", "LogProcessor"),
    ],
)
def test_a_type_that_no_package_has_is_found_without_an_import(findings, valid, path, type_, near):
    """The check found no errors, and the run ended in mmengine's traceback after the data were read."""
    valid["visualizer"] = {"type": "Visualizer"}
    valid["log_processor"] = {"window_size": 10}
    part = valid
    for name in path.split("."):
        part = part[int(name) if name.isdigit() else name]
    part["type"] = type_
    found = findings(valid)[f"{path}.type"]
    assert found.level == "error"
    assert near is None or near in found.near


def test_a_type_that_the_config_itself_registers_passes(findings, valid):
    """A config is a program: it may define and register a class, which no package's source shows."""
    from mmengine.registry import MODELS

    MODELS.module_dict["RegisteredByTheConfig"] = object
    try:
        valid["model"]["student"] = {"type": "RegisteredByTheConfig"}
        assert findings(valid) == {}
    finally:
        del MODELS.module_dict["RegisteredByTheConfig"]


def test_a_module_of_ones_own_is_read(findings, valid, install_fake):
    """Local experiments are named by import path; their keys are checked like all others."""
    install_fake(
        "my_experiment",
        files={"my_experiment.py": "class Mine:\n    def __init__(self, width=1): ...\n"},
        entry_points={},
    )
    valid["model"]["student"] = {"type": "my_experiment.Mine", "widht": 3}
    assert list(findings(valid)) == ["model.student.widht"]
    assert "my_experiment" not in sys.modules


def test_a_bare_name_may_come_from_custom_imports(findings, valid):
    """With custom imports anything may be registered under any name."""
    valid["custom_hooks"] = [{"type": "ProgressHook"}]
    assert list(findings(valid)) == ["custom_hooks.0.type"]
    valid["custom_imports"] = {"imports": ["anything"]}
    assert findings(valid) == {}


@pytest.mark.parametrize("spec", [{"imports": ["json", "mmengine"]}, {"imports": "json"}, ["json"], {}])
def test_custom_imports_that_have_run_have_said_all_names(findings, valid, spec):
    """A misspelt type passed the check of every config with custom imports, and failed once the data were loaded."""
    from mmengine.registry import HOOKS

    HOOKS.register_module(name="FromCustomImports", module=type("Hook", (), {}), force=True)
    valid["custom_imports"] = spec
    valid["optim_wrapper"]["optimizer"]["type"] = "AdamWW"
    valid["custom_hooks"] = [{"type": "FromCustomImports"}]
    try:
        found = findings(valid)
    finally:
        HOOKS.module_dict.pop("FromCustomImports")
    assert "AdamW" in found.pop("optim_wrapper.optimizer.type").near
    assert set(found) <= {"custom_imports"}
