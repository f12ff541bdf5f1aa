"""What `kdhub plugins list` and `kdhub doctor` say of a plugin that loads and cannot be used."""

import sys

import pytest

from kdhub.config import check_config
from kdhub.plugins.faults import faults

PARTS = """
    @hookimpl
    def kdhub_losses():
        yield LossSpec(name="Toy", target="{target}", summary="A loss")
"""
RECIPE = """
    @hookimpl
    def kdhub_recipes():
        yield Recipe("small", "configs/smal.py", "s", "t", "t", "s", "cpu-minutes")
"""
COMMAND = """
    @hookimpl
    def kdhub_add_commands():
        yield Command("greet", "Greet", "kdacme.greet:main")
"""
FILES = {
    "losses.py": "from kdacme.maths import half\nclass ToyLoss: pass\nfrom kdacme.made import *\n",
    "made.py": "globals()['AnyName'] = object\n",
    "maths.py": "import math\ndef half(x): return x / 2\ntry:\n    import absent_and_optional\nexcept ImportError: pass\n",
    "plain.py": "class ToyLoss: pass\n",
    "far.py": "from . import middle\nclass Toy: pass\n",
    "middle.py": "from .inner import thing\n",
    "inner.py": "from absent_library.deep import thing\n",
    "quick.py": "import quick_library\nclass Toy: pass\n",
    "slip.py": "from kdacme.math import half\nclass Toy: pass\n",
    "bad.py": "class Toy\n",
    "lazy.py": "def __getattr__(name): return object\n",
    "configs/small.py": "",
}


@pytest.fixture
def told(install_plugin, row_of):
    """The faults of a plugin with this body, as lines."""

    def tell(body, **contents):
        install_plugin("kdacme", body, files=FILES, **contents)
        row = row_of(next(iter(contents.get("entry_points", {"kdacme": ""}))))
        found = [f"{fault.level}: {fault.detail} -> {fault.fix}" for fault in faults(row)]
        assert not {f"kdacme.{name}" for name in ("losses", "plain", "far", "greet")} & set(sys.modules)
        return found

    return tell


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (
            "kdacme.loses:ToyLoss",
            "fail: kdacme.Toy: target 'kdacme.loses:ToyLoss': no module 'kdacme.loses' -> did you mean 'kdacme.losses'?",
        ),
        (
            "kdacme.plain:ToyLos",
            "fail: kdacme.Toy: target 'kdacme.plain:ToyLos': kdacme.plain defines no 'ToyLos' -> did you mean 'ToyLoss'?",
        ),
        (
            "kdacme.far:Toy",
            "fail: kdacme.Toy: kdacme.inner imports 'absent_library.deep', which is not there"
            " -> install what provides module 'absent_library'",
        ),
        (
            "kdacme.slip:Toy",
            "fail: kdacme.Toy: kdacme.slip imports 'kdacme.math', which is not there -> did you mean 'kdacme.maths'?"
            " 'kdacme.math' would be the plugin's own module: its author must correct the name",
        ),
    ],
)
def test_a_target_that_cannot_be_imported_is_told(told, target, line):
    """Listed as ok and passed by the check, it would fail only when somebody trains with it."""
    assert told(PARTS.format(target=target)) == [line]


def test_the_check_tells_of_a_target_that_a_config_uses(install_plugin, load_fakes):
    """`check` passed what `plugins list` knew to be broken, and the run failed after the teacher was loaded."""
    install_plugin("kdacme", PARTS.format(target="kdacme.far:Toy"), files=FILES)
    model = {"objectives": {"toy": {"loss": {"type": "kdacme.Toy"}, "student": "head"}}, "type": "kdhub.Distiller"}
    found = check_config({"model": model}, load_fakes())
    (line,) = [one.line() for one in found.errors if one.path == "model.objectives.toy.loss.type"]
    assert "kdacme.Toy: kdacme.inner imports 'absent_library.deep', which is not there" in line


@pytest.mark.parametrize(
    "target", ["kdacme.losses:AnyName", "kdacme.plain:ToyLoss", "kdacme.lazy:Toy", "kdacme.bad:Toy"]
)
def test_what_source_does_not_tell_is_taken_for_granted(told, target):
    """A star import, a module's __getattr__ or an import in a try block must not make a sound plugin faulty.

    Nor does a module with a syntax error "define no Toy": its author would look in the wrong place.
    """
    assert told(PARTS.format(target=target)) == []


def test_a_module_of_an_extra_may_be_absent_until_a_config_uses_it(told, load_fakes):
    """The user chooses the extras, so its absence is no fault of the plugin; a config that uses it would fail in training."""
    assert told(PARTS.format(target="kdacme.quick:Toy")) == []
    model = {"objectives": {"toy": {"loss": {"type": "kdacme.Toy"}, "student": "head"}}, "type": "kdhub.Distiller"}
    found = check_config({"model": model}, load_fakes())
    (line,) = [one.line() for one in found.errors if one.path == "model.objectives.toy.loss.type"]
    assert "kdacme.quick imports 'quick_library', which is not there -> pip install 'kdacme-dist[fast]'" in line


def test_a_missing_recipe_file_and_command_are_told(told):
    """`kdhub train kdacme:small` is what a new user types first."""
    recipe, command = told(RECIPE + COMMAND)[::-1]
    assert recipe.startswith("fail: recipe kdacme:small: no file 'configs/smal.py' in ")
    assert recipe.endswith("-> did you mean 'configs/small.py'?")
    assert command.startswith("fail: command 'greet': target 'kdacme.greet:main': no module 'kdacme.greet'")


@pytest.mark.parametrize(
    ("info", "module"),
    [("import torch\n", "torch"), ("from torch import nn\n", "torch"), ("from kdacme import heavy\n", "cv2")],
)
def test_a_manifest_that_imports_something_heavy_is_told(install_plugin, row_of, info, module):
    """Every command of every user would wait for torch, and no output says whose fault it is."""
    manifest = info + "from kdhub import PluginInfo, hookimpl\n@hookimpl\ndef kdhub_plugin_info():\n"
    files = {"heavy.py": "import cv2"}
    install_plugin("kdacme", info=manifest + "    return PluginInfo(summary='x', api_level=1)\n", files=files)
    (fault,) = faults(row_of("kdacme"))
    assert fault.level == "warn"
    assert fault.detail.startswith(f"its manifest imports {module}")


def test_a_heavy_import_inside_a_hook_is_told(install_plugin, row_of, monkeypatch):
    """Source alone does not show what a hook imports when it runs; what appears in sys.modules does."""
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    body = "    import sys, types\n    sys.modules['timm'] = types.ModuleType('timm')\n    return ()\n"
    install_plugin("kdacme", f"@hookimpl\ndef kdhub_losses():\n{body}")
    (fault,) = faults(row_of("kdacme"))
    del sys.modules["timm"]  # monkeypatch would put it back when it undoes that
    assert "its manifest imports timm" in fault.detail


def test_an_entry_name_that_is_not_the_package_is_told(told):
    """Scope and package differ, so that nobody can tell from a config what to install."""
    (line,) = told("", entry_points={"acme": "kdacme.plugin"})
    assert line.startswith("warn: the entry name 'acme' is not the import package 'kdacme'")
    assert line.endswith('-> write kdacme = "kdacme.plugin" under [project.entry-points."kdhub.plugins"]')


def test_a_command_that_lacks_an_extra_names_it(install_plugin, capsys):
    """`install what provides module 'quick_library'` sends the user to search for what the plugin's extra names."""
    from kdhub.cli.main import main

    install_plugin("kdacme", COMMAND.replace("kdacme.greet", "kdacme.quick"), files=FILES)
    assert main(["greet"]) != 0
    assert "-> pip install 'kdacme-dist[fast]'" in capsys.readouterr().err


def test_list_and_doctor_say_it(install_plugin, kdhub_command):
    """The author looks at the list, the user at the doctor, and CI at the exit code of --strict."""
    install_plugin("kdacme", PARTS.format(target="kdacme.loses:ToyLoss"), files=FILES)
    for command in (["plugins", "list", "--strict"], ["plugins", "info", "kdacme"], ["doctor"]):
        code, out = kdhub_command(*command)
        assert "did you mean 'kdacme.losses'?" in out
        assert code == (0 if "info" in command else 1)
    assert "faulty" in kdhub_command("plugins", "list")[1]


@pytest.fixture
def kdhub_command(capsys):
    """Run a command in this process: exit code and output."""
    from kdhub.cli.main import main

    def run(*arguments):
        capsys.readouterr()
        return main(list(arguments)), capsys.readouterr().out

    return run
