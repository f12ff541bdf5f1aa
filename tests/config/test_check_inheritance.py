"""Configs in several files: keys that stay behind when a type is replaced."""

from kdhub.config import check_config, load_config

BASE = """
    model = dict(
        type='kdhub.Distiller',
        student=dict(type='kdcheck.Student', width=4),
        teacher=dict(type='kdhub.ModelTeacher', model='teacher.py'),
        objectives=dict(
            logits=dict(
                loss=dict(type='kdhub.TemperatureKL', temperature=2.0), student='head', teacher='head')))
    custom_hooks = [dict(type='kdhub.ProgressHook', metrics=2)]
"""


def errors(manager, path):
    """Errors of a config file by path."""
    return {finding.path: finding for finding in check_config(load_config(path, manager=manager), manager).errors}


def test_a_key_left_by_another_type_says_so(manager, write):
    """Merging over another type keeps the former one's keys; the remedy is not to rename the key."""
    write("base.py", BASE)
    path = write(
        "a.py", "_base_ = './base.py'\nmodel = dict(objectives=dict(logits=dict(loss=dict(type='kdhub.MSE'))))\n"
    )
    found = errors(manager, path)
    assert list(found) == ["model.objectives.logits.loss.temperature"]
    fix = found["model.objectives.logits.loss.temperature"].fix
    assert "base.py" in fix
    assert "'kdhub.TemperatureKL'" in fix
    assert "_delete_=True" in fix


def test_the_remedy_works(manager, write):
    """A remedy that does not work when typed is worse than none."""
    write("base.py", BASE)
    loss = "dict(_delete_=True, type='kdhub.MSE')"
    path = write("a.py", f"_base_ = './base.py'\nmodel = dict(objectives=dict(logits=dict(loss={loss})))\n")
    assert errors(manager, path) == {}


def test_the_base_of_a_base_is_looked_at_too(manager, write):
    """Configs of the field inherit over three files and more."""
    write("_base_/models/base.py", BASE)
    write("middle.py", "_base_ = './_base_/models/base.py'\n")
    path = write(
        "a.py", "_base_ = './middle.py'\nmodel = dict(objectives=dict(logits=dict(loss=dict(type='kdhub.MSE'))))\n"
    )
    assert "_base_/models/base.py" in errors(manager, path)["model.objectives.logits.loss.temperature"].fix


def test_a_mistake_of_ones_own_is_not_blamed_on_a_base(manager, write):
    """The fix for a typing error is the near match alone."""
    write("base.py", BASE)
    path = write("a.py", "_base_ = './base.py'\nmodel = dict(objectives=dict(logits=dict(loss=dict(temprature=1))))\n")
    found = errors(manager, path)["model.objectives.logits.loss.temprature"]
    assert found.fix is None
    assert found.near[0] == "temperature"


def test_a_config_whose_bases_are_gone_is_still_checked(manager, write):
    """The config that a run leaves in its work folder may name bases that are not beside it."""
    base = write("base.py", BASE)
    path = write(
        "a.py", "_base_ = './base.py'\nmodel = dict(objectives=dict(logits=dict(loss=dict(type='kdhub.MSE'))))\n"
    )
    cfg = load_config(path, manager=manager)
    base.unlink()
    assert [finding.fix for finding in check_config(cfg, manager).errors] == [None]
