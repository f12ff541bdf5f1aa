"""Looking up ``scope.Name``: each reason why it cannot be used has a message of its own."""

import sys

import pytest

from kdhub.errors import PluginError, UnknownComponentError
from kdhub.plugins import names

PARTS = """
    @hookimpl
    def kdhub_losses():
        yield LossSpec(name="BPKDLoss", target="kdtoy.losses:BPKDLoss", summary="x")
        yield LossSpec(name="LostLoss", target="kdtoy.losses:LostLos", summary="x")
        yield LossSpec(name="FastLoss", target="kdtoy.fast:FastLoss", summary="x")
        yield LossSpec(name="TornLoss", target="kdtoy.torn:TornLoss", summary="x")
        yield LossSpec(name="GoneLoss", target="kdtoy.loses:BPKDLoss", summary="x")
        yield LossSpec(name="BareLoss", target="kdtoy.bare:BareLoss", summary="x")
"""
FILES = {
    "losses.py": "class BPKDLoss: pass\nclass LostLoss: pass\n",
    "fast.py": "import quick_library.deep",
    "torn.py": "raise RuntimeError('no device')",
    "bare.py": "import absent_library.deep",
}


@pytest.fixture
def toy(install_plugin, load_fakes):
    """A manager with one plugin whose components are sound, lost, or without what they need."""
    install_plugin("kdtoy", PARTS, files=FILES, version="0.2")
    return load_fakes()


def message(manager, *arguments, **keywords):
    """The text of the error that looking up these arguments gives."""
    with pytest.raises(UnknownComponentError) as caught:
        manager.find(*arguments, **keywords)
    assert isinstance(caught.value, KeyError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_found_by_name(toy):
    """A name that resolves to another record would load another class."""
    assert toy.find("kdtoy.BPKDLoss", "loss").load() is sys.modules["kdtoy.losses"].BPKDLoss


@pytest.mark.parametrize("in_checkout", [True, False])
def test_known_plugin_that_is_not_installed_gives_the_line_to_type(toy, monkeypatch, tmp_path, in_checkout):
    """Cause one: a config needs a plugin of kdhub's source tree. No package index has it, and a stranger may take its name there."""
    folder = tmp_path / "plugins" / "kdhub-segmentation"
    if in_checkout:
        folder.mkdir(parents=True)
        (folder / "pyproject.toml").touch()
    monkeypatch.setattr(names, "_TREE", tmp_path)
    text = message(toy, "kdseg.BPKDLoss", "loss", where="model.objectives.edge.loss")
    line = f"pip install {folder}" if in_checkout else "pip install ./plugins/kdhub-segmentation in a checkout of kdhub"
    assert text == (
        f"model.objectives.edge.loss: 'kdseg.BPKDLoss' is in plugin 'kdseg', which is not installed -> {line}"
    )


def test_a_plugin_that_nobody_wrote_is_not_advised(toy):
    """A name that is not in the tree sends the user to whatever a stranger publishes under it."""
    assert not toy.owns("kdnobody.Loss")
    assert "pip install" not in message(toy, "kdnobody.Loss")


def test_the_scope_of_a_plugin_with_a_dash_is_not_suggested(install_plugin, load_fakes):
    """'kd-dash.Loss' can never be written in a config; the way out is the right spelling of the entry name."""
    install_plugin("kddash", entry_points={"kd-dash": "kddash.plugin"})
    text = message(load_fakes(), "kddash.Loss")
    assert "plugin 'kd-dash' (kddash-dist 1.0) is broken: entry name 'kd-dash' must be lower-case" in text
    assert text.endswith('-> write kddash = "kddash.plugin" under [project.entry-points."kdhub.plugins"]')
    assert "kd-dash." not in message(load_fakes(), "kd_dash.Loss")
    install_plugin(
        "kdboth", entry_points={"kd-both": "kdboth.plugin", "kdboth": "kdboth.plugin"}, requires=["kdhub>=99"]
    )
    assert "plugin 'kdboth' (kdboth-dist 1.0) is incompatible" in message(load_fakes(), "kdboth.Loss")


def test_unknown_scope_lists_the_installed_ones(toy):
    """Cause one again, for a scope nobody knows: most often it is a typing error."""
    text = message(toy, "kdtyo.BPKDLoss")
    assert "no installed plugin has the scope 'kdtyo' (expected one of kdhub, kdtoy)" in text
    assert "did you mean 'kdtoy.BPKDLoss'" in text


@pytest.mark.parametrize(
    ("status", "arguments", "switches", "expected"),
    [
        (
            "broken",
            {"body": "import missing_module"},
            {},
            "No module named 'missing_module' -> see `kdhub plugins info kdsad`",
        ),
        ("disabled", {}, {"no_plugins": True}, "switched off by --no-plugins -> leave out the switch"),
        ("incompatible", {"requires": ["kdhub>=99"]}, {}, "requires kdhub>=99, and this is kdhub"),
    ],
)
def test_plugin_that_is_not_ok_says_status_and_reason(
    install_plugin, load_fakes, status, arguments, switches, expected
):
    """Cause two: "not found" would send the user to install what is installed."""
    install_plugin("kdsad", **arguments)
    text = message(load_fakes(**switches), "kdsad.Anything")
    assert text.startswith(f"'kdsad.Anything': plugin 'kdsad' (kdsad-dist 1.0) is {status}: ")
    assert expected in text


def test_conflict_names_both_distributions(install_plugin, load_fakes):
    """Cause two for two plugins of one name: the user must know which two."""
    install_plugin("kdtwin", dist="first")
    install_plugin("kdtwin", dist="second")
    text = message(load_fakes(), "kdtwin.Anything")
    assert "is in conflict: first 1.0 and second 1.0 both provide a plugin named 'kdtwin'" in text


def test_no_such_name_offers_the_nearest_then_the_list(toy):
    """Cause three: the plugin is fine and the name is not."""
    text = message(toy, "kdtoy.BPKDLos", "loss")
    assert "plugin 'kdtoy' has no loss 'BPKDLos'" in text
    assert "expected one of BPKDLoss, LostLoss" in text
    assert "did you mean 'kdtoy.BPKDLoss'" in text


def test_another_kind_says_which_it_is_and_which_is_wanted(toy):
    """Cause four: the name exists, and the place in the config is wrong."""
    assert message(toy, "kdtoy.BPKDLoss", "metric") == "'kdtoy.BPKDLoss' is a loss; this place wants a metric"
    text = message(toy, "kdtoy.BPKDLoss", ("adapter", "tap", "runner_hook"))
    assert text.endswith("this place wants an adapter, a tap or a runner hook")


def test_a_name_without_scope_is_pointed_to_its_scope(toy):
    """Users of mmengine write bare names; the scope is what they have to add."""
    assert "did you mean 'kdtoy.BPKDLoss'" in message(toy, "BPKDLoss")


@pytest.mark.parametrize(
    ("type_", "owned"),
    [
        ("kdtoy.X", True),
        ("kdseg.X", True),
        ("mmseg.X", False),
        ("X", False),
        ("kdtoy.losses.X", False),
        ("kdtoy.", False),
    ],
)
def test_whose_a_type_is(toy, type_, owned):
    """A type of another package is mmengine's to resolve; claiming it would break configs of others."""
    assert toy.owns(type_) is owned


def test_a_missing_module_names_the_extra_that_provides_it(toy):
    """The import error alone names a module of which the user has never heard; and the extra `all` would install too much."""
    with pytest.raises(PluginError) as caught:
        toy.find("kdtoy.FastLoss").load()
    text = str(caught.value)
    assert "plugin 'kdtoy' (kdtoy-dist 0.2)" in text
    assert "'kdtoy.fast:FastLoss'" in text
    assert "No module named 'quick_library'" in text
    assert "pip install 'kdtoy-dist[fast]'" in text
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_a_missing_module_is_the_plugin_s_own_or_another_s(toy):
    """Nobody can install the plugin's own module: its name is misspelt, and only for another's is there something to install."""
    with pytest.raises(
        PluginError, match="did you mean 'kdtoy.losses'\\? 'kdtoy.loses' would be the plugin's own module"
    ) as own:
        toy.find("kdtoy.GoneLoss").load()
    assert "install" not in str(own.value)
    with pytest.raises(PluginError, match="-> install what provides module 'absent_library'$"):
        toy.find("kdtoy.BareLoss").load()


def test_any_failure_of_a_target_s_module_names_the_plugin(toy):
    """A bare RuntimeError out of an import would be taken for a defect of kdhub."""
    with pytest.raises(PluginError, match=r"'kdtoy' \(kdtoy-dist 0.2\).*RuntimeError: no device"):
        toy.find("kdtoy.TornLoss").load()


def test_a_target_that_is_not_in_its_module_offers_the_nearest(toy):
    """The author's typing error must not read as the user's."""
    with pytest.raises(PluginError, match="no attribute 'LostLos'; did you mean 'LostLoss'"):
        toy.find("kdtoy.LostLoss").load()
