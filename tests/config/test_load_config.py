"""Reading configs: whatever is wrong with the file is one line with file and line number."""

import json

import pytest

from kdhub.config import load_config
from kdhub.errors import UsageError


def test_a_config_is_read_with_its_bases(manager, write):
    """The strict reader must not change what mmengine reads."""
    write("base/schedule.py", "train_cfg = dict(by_epoch=True, max_epochs=3)\n")
    path = write(
        "a.py", "_base_ = ['./base/schedule.py']\ntrain_cfg = dict(max_epochs={{_base_.train_cfg.max_epochs}})\n"
    )
    assert load_config(path, manager=manager).train_cfg == {"by_epoch": True, "max_epochs": 3}


def test_a_new_style_config_is_read(manager, write):
    """Configs that import their bases are mmengine configs too."""
    write("base.py", "size = 3\n")
    path = write(
        "a.py", "from mmengine.config import read_base\nwith read_base():\n    from .base import *\nwidth = size\n"
    )
    assert load_config(path, manager=manager).width == 3


def test_a_recipe_is_read_by_its_name(write, install_fake):
    """`kdhub train scope:recipe` must work from any folder."""
    from kdhub.testing import isolated_plugins

    manifest = """
        from kdhub import PluginInfo, Recipe, hookimpl

        @hookimpl
        def kdhub_plugin_info():
            return PluginInfo(summary="A recipe", api_level=1)

        @hookimpl
        def kdhub_recipes():
            yield Recipe("small-one", "configs/one.py", "One", "toy", "teacher", "student", "cpu-minutes")
    """
    files = {"kdrec/__init__.py": "", "kdrec/plugin.py": manifest, "kdrec/configs/one.py": "a = 1\n"}
    install_fake("kdhub-rec", files=files, entry_points={"kdrec": "kdrec.plugin"})
    import kdrec.plugin

    with isolated_plugins(kdrec.plugin) as manager:
        assert load_config("kdrec:small-one", manager=manager).a == 1
        with pytest.raises(UsageError, match="did you mean 'kdrec:small-one'"):
            load_config("kdrec:smal-one", manager=manager)


def test_a_missing_file_names_what_is_there(manager, write):
    """The usual cause is a typing error in a long file name."""
    path = write("bpkd_r18.py", "")
    with pytest.raises(UsageError, match=f"did you mean '{path}'"):
        load_config(path.with_name("bpkd_r81.py"), manager=manager)
    with pytest.raises(UsageError, match=f"did you mean '{path}'"):
        load_config(path.with_name("bpkd_r18"), manager=manager)


def test_a_missing_folder_names_the_nearest(manager, write):
    """A mistyped folder would otherwise give a long path and no hint which part is wrong."""
    path = write("configs/retrieval/a.py", "")
    with pytest.raises(UsageError, match=r"there is no folder .*retreival; did you mean .*retrieval'"):
        load_config(path.parent.with_name("retreival") / "a.py", manager=manager)


def test_a_folder_is_not_a_config(manager, write):
    """Tab completion stops at the folder."""
    path = write("configs/a.py", "")
    with pytest.raises(UsageError, match=r"is a folder \(expected one of .*a\.py"):
        load_config(path.parent, manager=manager)


def test_another_kind_of_file_is_not_a_config(manager, write):
    """A checkpoint given as config would fail with a decoding error."""
    with pytest.raises(UsageError, match="is not a config"):
        load_config(write("model.pth", ""), manager=manager)


@pytest.mark.parametrize("broken", ["a.py", "base.py"])
def test_a_syntax_error_has_file_and_line(manager, write, broken):
    """Left alone, mmengine reports the line of a temporary file with a random name."""
    write("base.py", "size = 1\n")
    path = write("a.py", "_base_ = './base.py'\n")
    write(broken, "one = 1\ntwo = dict(a=1\nthree = 3\n")
    with pytest.raises(UsageError, match=rf"{broken}:2: syntax error: '\(' was never closed"):
        load_config(path, manager=manager)


def test_a_missing_base_has_file_line_and_near_match(manager, write):
    """Left alone, mmengine names only the absolute path that is missing, not who asked for it."""
    write("base/schedule.py", "")
    path = write("a.py", "size = 1\n_base_ = ['./base/shedule.py']\n")
    with pytest.raises(UsageError, match=r"a\.py:2: no config .*did you mean .*base/schedule\.py"):
        load_config(path, manager=manager)


def test_configs_that_inherit_from_each_other_are_told(manager, write):
    """Left alone, mmengine would recurse until Python gives up."""
    path = write("a.py", "_base_ = './b.py'\n")
    write("b.py", "_base_ = './a.py'\n")
    with pytest.raises(UsageError, match="inherits from itself"):
        load_config(path, manager=manager)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("size = 1\nwidth = sise\n", r"a\.py:2: .*NameError: name 'sise' is not defined"),
        ("size = 1 / 0\n", r"a\.py:1: .*ZeroDivisionError"),
        ("_base_ = ['./one.py', './two.py']\n", "Duplicate key"),
        ("_base_ = './one.py'\nsize = dict(a=1)\n", "cannot inherit from"),
        ("size = '{{$KDHUB_NOT_SET:}}'\n", "KDHUB_NOT_SET"),
    ],
)
def test_an_exception_in_a_config_has_file_and_line(manager, write, text, words):
    """A config is a program, and its traceback is mmengine's machinery."""
    write("one.py", "size = 1\n")
    write("two.py", "size = 2\n")
    with pytest.raises(UsageError, match=words):
        load_config(write("a.py", text), manager=manager)


def test_a_broken_json_config_is_told(manager, write):
    """JSON configs are configs too."""
    with pytest.raises(UsageError, match=r"a\.json: the config cannot be read"):
        load_config(write("a.json", "{"), manager=manager)
    assert load_config(write("a.json", json.dumps({"a": 1})), manager=manager).a == 1


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", "[1]"), ("a.yaml", "- a: 1"), ("b.yaml", "text"), ("c.yaml", "")]
)
def test_a_config_that_is_no_dict_is_told(manager, write, name, text):
    """All that was said was: 'list' object has no attribute 'get'."""
    with pytest.raises(UsageError, match=rf"{name}: the config is no dict \(expected keys"):
        load_config(write(name, text), manager=manager)


def test_a_config_that_is_no_text_is_told(manager, tmp_path):
    """Bytes that are not UTF-8 must not end in a UnicodeDecodeError."""
    path = tmp_path / "a.py"
    path.write_bytes(b"# \xff\n")
    with pytest.raises(UsageError, match="not UTF-8 text"):
        load_config(path, manager=manager)


def test_custom_imports_are_strict_and_show_the_cause(manager, write):
    """Left alone, mmengine warns and goes on, or hides the exception behind a list of folders."""
    path = write("a.py", "custom_imports = dict(imports=['json', 'kd_nobody_has.this'], allow_failed_imports=True)\n")
    words = r"custom_imports\.imports\.1: cannot import 'kd_nobody_has\.this': ModuleNotFoundError.*set PYTHONPATH"
    with pytest.raises(UsageError, match=words) as caught:
        load_config(path, manager=manager)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)
    assert load_config(path, manager=manager, custom_imports=False).custom_imports


def test_a_custom_import_that_raises_shows_its_own_error(manager, write, install_fake):
    """An error inside the user's module is what the user must see."""
    install_fake("kdmine", files={"kdmine.py": "raise ValueError('in my module')\n"}, entry_points={})
    with pytest.raises(UsageError, match="cannot import 'kdmine': ValueError: in my module"):
        load_config(write("a.py", "custom_imports = dict(imports='kdmine')\n"), manager=manager)
