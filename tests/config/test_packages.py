"""Configs that an installed library brings along."""

import pytest

from kdhub.config import check_config, load_config
from kdhub.config.read.packages import mmengine_finds_named_configs, named_config
from kdhub.errors import UsageError


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A package ``mmtoy`` with one model and one schedule, that cannot be imported."""
    folder = tmp_path / "site"
    configs = folder / "mmtoy" / ".mim" / "configs"
    (configs / "toynet").mkdir(parents=True)
    (folder / "mmtoy" / "__init__.py").write_text("raise ImportError('reading a config must not import the library')")
    (folder / "mmtoy" / "parts.py").write_text(
        "class ToyNet: ...\nclass Toys: ...\nclass Metric: ...\nclass Load: ...\n"
    )
    (configs / "schedule.py").write_text("train_cfg = dict(by_epoch=True, max_epochs=3)\n")
    (configs / "toynet" / "toynet_r18.py").write_text(
        "_base_ = '../schedule.py'\nmodel = dict(type='ToyNet', depth=18)\ndefault_scope = 'mmtoy'\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    return configs


def test_a_base_is_found_in_an_installed_library(library, manager, write):
    """Mmengine asks for a distribution name, and knows neither a library's maintained line nor a new library."""
    path = write(
        "a.py",
        "_base_ = 'mmtoy::toynet/toynet_r18.py'\n"
        "model = dict(_delete_=True, type='kdhub.Distiller', student=_base_.model, objectives=dict())\n",
    )
    cfg = load_config(path, manager=manager)
    assert cfg.train_cfg.max_epochs == 3
    assert cfg.model.type == "kdhub.Distiller"
    assert cfg.model.student.depth == 18
    assert cfg.model.student._scope_ == "mmtoy"


def test_helper_variables_of_a_library_are_no_dead_keys(library, manager, write):
    """Mmengine scopes `pipeline` but not its copy in the data set: every config on a library had warnings."""
    (library / "data.py").write_text(
        "pipeline = [dict(type='Load')]\nval_dataloader = dict(sampler=None, dataset=dict(type='Toys', pipeline=pipeline))\n"
        "val_cfg = dict()\nval_evaluator = dict(type='Metric')\n"
    )
    path = write("a.py", "_base_ = 'mmtoy::data.py'\nmodel = dict(type='mmtoy.ToyNet')\n")
    cfg = load_config(path, manager=manager)
    assert cfg.pipeline[0]._scope_ == "mmtoy"
    assert [finding.line() for finding in check_config(cfg, manager).findings] == []


def test_a_config_of_a_library_is_read_by_its_name(library, manager):
    """A teacher is often just that: `ModelTeacher(model='mmseg::...')`."""
    assert load_config("mmtoy::toynet/toynet_r18.py", manager=manager).model.depth == 18


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "mmtoy::toynet/toynet_r81.py",
            r"no config 'mmtoy::toynet/toynet_r81.py'; did you mean 'mmtoy::toynet/toynet_r18.py'\?",
        ),
        ("mmsegg::a.py", r"no package 'mmsegg' is installed; did you mean 'mmseg::a.py'\?"),
        ("pathlib::a.py", "no package 'pathlib' is installed"),
        ("email::a.py", "the package 'email' brings no configs"),
        ("no-name::a.py", "no package 'no-name' is installed"),
    ],
)
def test_what_is_not_there_is_told_with_file_and_line(library, manager, write, reference, message):
    """Mmengine lists all configs of the library, or says that an installed one is not installed."""
    path = write("a.py", f"size = 1\n_base_ = ['{reference}']\n")
    with pytest.raises(UsageError, match=rf"a\.py:2: .*{message}"):
        load_config(path, manager=manager)
    with pytest.raises(UsageError, match=message):
        named_config(reference)


def test_a_library_that_is_not_installed_has_a_line_to_type(manager, monkeypatch):
    """The distribution's name is not the package's."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install onedl-mmsegmentation"):
        named_config("mmseg::pspnet/pspnet_r18.py")


def test_a_leftover_key_of_a_librarys_type_is_explained(library, manager, write):
    """The hint to `_delete_` must come also where the base is in a library."""
    path = write(
        "a.py", "_base_ = 'mmtoy::toynet/toynet_r18.py'\nmodel = dict(type='kdhub.Distiller', objectives=dict())\n"
    )
    report = check_config(load_config(path, manager=manager), manager)
    (finding,) = [finding for finding in report.errors if finding.path == "model.depth"]
    assert "_delete_=True" in finding.line()


def test_mmengine_is_as_before_outside_of_the_block():
    """Other programs in the process read configs too."""
    from mmengine.config import Config

    before = Config._get_cfg_path
    with mmengine_finds_named_configs():
        assert Config._get_cfg_path is not before
    assert Config._get_cfg_path is before
