"""One string names one class, from any registry and under any default scope, or says why it cannot."""

import importlib
import sys
import warnings

import pytest
from mmengine.registry import FUNCTIONS, HOOKS, METRICS, MODELS, TASK_UTILS, DefaultScope, Registry

from kdhub.errors import PluginError, UnknownComponentError, UsageError
from kdhub.plugins import PluginManager, Switches
from kdhub.plugins.scan import Scan
from kdhub.records import KINDS
from kdhub.registry import ROOT_OF_KIND, PluginScope, activate
from kdhub.testing import isolated_plugins

PLACES = [(MODELS, "ToyLoss"), (METRICS, "ToyMetric"), (HOOKS, "ToyHook"), (FUNCTIONS, "toy_collate")]
ROOTS = [MODELS, METRICS, HOOKS]


@pytest.fixture
def sibling():
    """A registry of another package below each root, as mmseg and mmdet have."""
    made = {root: Registry(f"other {root.name}", parent=root, scope="kdother") for root in ROOTS}
    yield made
    for root in made:
        root.children.pop("kdother")


def test_every_kind_has_a_root():
    """A kind without a root is listed, checked, and then not found by the Runner."""
    assert sorted(ROOT_OF_KIND) == sorted(KINDS)


@pytest.mark.parametrize(("root", "name"), PLACES, ids=lambda value: str(getattr(value, "name", value)))
def test_found_from_the_root(toy, root, name):
    """The plain case, and only the component's own module is imported for it."""
    assert root.get(f"kdtoy.{name}") is getattr(sys.modules["kdtoy.parts"], name)


@pytest.mark.parametrize(("root", "name"), PLACES[:3], ids=lambda value: str(getattr(value, "name", value)))
def test_found_from_a_sibling_scope(toy, sibling, root, name):
    """Inside mmseg the same string must mean the same class."""
    assert sibling[root].get(f"kdtoy.{name}") is root.get(f"kdtoy.{name}")


@pytest.mark.parametrize(("root", "name"), PLACES[:3], ids=lambda value: str(getattr(value, "name", value)))
@pytest.mark.parametrize("scope", ["kdother", "kdtoy", "mmengine"])
def test_built_under_any_default_scope(toy, sibling, scope, root, name):
    """Configs keep default_scope='mmseg'; a plugin's component must not depend on it."""
    keywords = {"weight": 2.0} if name == "ToyLoss" else {}
    with DefaultScope.overwrite_default_scope(scope):
        built = root.build({"type": f"kdtoy.{name}", **keywords})
    assert type(built) is getattr(sys.modules["kdtoy.parts"], name)


def test_other_scopes_are_found_under_a_plugin_s_default_scope(toy, sibling):
    """With a plugin as default scope mmengine asks it for everything, its own classes and dotted paths included."""
    other = sibling[MODELS].register_module(name="OtherLoss", module=dict)
    importlib.import_module("mmengine.hooks")  # registers mmengine's own
    with DefaultScope.overwrite_default_scope("kdtoy"):
        assert MODELS.build({"type": "kdother.OtherLoss"}) == other()
        assert type(HOOKS.build({"type": "mmengine.IterTimerHook"})).__name__ == "IterTimerHook"
        assert type(METRICS.build({"type": "kdtoy.parts.NotDeclared"})).__name__ == "NotDeclared"


def test_a_reserved_scope_is_not_declared(install_fake):
    """A plugin that calls itself mmseg is refused; declared all the same, it would shut out the real mmseg."""
    install_fake("thief", files={"kdthief.py": ""}, entry_points={"mmseg": "kdthief"})
    with isolated_plugins(installed=True, switches=Switches(only=frozenset({"mmseg"}))) as manager:
        assert manager.plugins[-1].status == "broken"
        assert not isinstance(MODELS.children.get("mmseg"), PluginScope)


def test_a_name_of_the_parent_is_not_borrowed(toy):
    """A plain child registry would quietly give mmengine's own class for a name the plugin does not have."""

    @MODELS.register_module(name="LossOfTheRoot")
    class LossOfTheRoot:
        pass

    try:
        with pytest.raises(UnknownComponentError, match=r"has no .* 'LossOfTheRoot'.*write 'mmengine.LossOfTheRoot'"):
            MODELS.get("kdtoy.LossOfTheRoot")
    finally:
        MODELS.module_dict.pop("LossOfTheRoot")


@pytest.mark.parametrize(
    ("root", "type_", "reason"),
    [
        (MODELS, "kdtoy.ToyLos", "did you mean 'kdtoy.ToyLoss'"),
        (METRICS, "kdtoy.ToyLoss", "'kdtoy.ToyLoss' is a loss; this place wants a metric"),
        (HOOKS, "kdsad.Anything", "is broken: importing its manifest raised ValueError: torn"),
        (MODELS, "kdseg.BPKDLoss", "plugins/kdhub-segmentation"),
    ],
)
def test_mmengine_s_own_build_gives_our_message(toy, root, type_, reason):
    """Other people's tools/train.py builds through mmengine, which would say "not in the registry" to all four."""
    with pytest.raises(UnknownComponentError) as caught:
        root.build({"type": type_})
    assert reason in str(caught.value)


def test_in_raises_as_get_does(toy):
    """Written down, as it is a choice: mmengine's ``in`` asks a child through ``get``."""
    assert "kdtoy.ToyLoss" in MODELS
    with pytest.raises(UnknownComponentError):
        "kdtoy.Typo" in MODELS  # noqa: B015 - the operator itself raises


def test_a_dotted_path_is_left_to_mmengine(toy):
    """Configs made by mmengine's lazy import name classes by their path."""
    assert MODELS.get("kdtoy.parts.NotDeclared") is sys.modules["kdtoy.parts"].NotDeclared


def test_a_target_that_cannot_be_imported_names_the_plugin(toy):
    """Mmengine swallows import errors and says "not in the registry"."""
    with pytest.raises(PluginError, match=r"kdtoy-dist 1\.0.*a_missing_library"):
        TASK_UTILS.get("kdtoy.NeedsLibrary")


def test_a_wrong_keyword_under_mmengine_stays_a_type_error(toy):
    """Mmengine's build is not ours to change; `kdhub check` finds the keyword before."""
    with pytest.raises(TypeError, match="wieght"):
        MODELS.build({"type": "kdtoy.ToyLoss", "wieght": 1.0})


def test_decorator_registers_beside_the_manifest(toy):
    """Users of one-off files know the decorator."""
    scope = MODELS.children["kdtoy"]

    @scope.register_module()
    class Late:
        pass

    assert MODELS.get("kdtoy.Late") is Late
    with pytest.raises(UsageError, match=r"'kdtoy.ToyLoss' is already in the manifest"):
        scope.register_module(name=["Fine", "ToyLoss"], module=Late)


def test_its_repr_lists_names_without_importing(toy):
    """Mmengine's table shows what was imported, which for a lazy registry is nothing."""
    assert repr(METRICS.children["kdtoy"]) == "PluginScope('kdtoy' in 'metric': ToyMetric)"
    assert "kdtoy.parts" not in sys.modules


def test_scopes_are_taken_away_again(toy):
    """Declaring a scope twice is an AssertionError in mmengine, so a second test of a plugin would fail."""
    former = activate(None)
    assert "kdtoy" not in MODELS.children
    activate(former)
    assert isinstance(MODELS.children["kdtoy"], PluginScope)


def test_a_scope_of_another_package_is_not_taken(toy):
    """Both would claim the same strings, and which one answers would depend on the order of imports."""
    former = activate(None)
    activate(PluginManager(Scan((), ()), Switches()))
    Registry("toys of others", parent=METRICS, scope="kdtoy")
    try:
        with pytest.raises(
            PluginError, match="another package declares the scope 'kdtoy' in mmengine's registry 'metric'"
        ):
            activate(former)
        assert isinstance(MODELS.children["kdhub"], PluginScope)
        assert "kdtoy" not in MODELS.children
    finally:
        METRICS.children.pop("kdtoy")
        activate(former)


def test_no_warning_is_given(toy):
    """Resolving must be silent: warnings are errors in the tests of users."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MODELS.get("kdtoy.ToyLoss")
