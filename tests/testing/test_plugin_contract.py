"""The plugin contract itself: it must find each defect that it exists for, and say what to mend."""

import pytest

from kdhub.plugins import Switches
from kdhub.testing import isolated_plugins
from kdhub.testing.contracts import assert_plugin_contract

MANIFEST = """
    from kdhub.hookspec import hookimpl
    from kdhub.records import Component, LossSpec, PluginInfo, Recipe
    {imports}

    @hookimpl
    def kdhub_plugin_info():
        return PluginInfo(summary="Example", api_level=1)

    @hookimpl
    def kdhub_losses():
        return [LossSpec(name="Example", target="kdexample.parts:Example", summary="Example")]

    @hookimpl
    def kdhub_adapters():
        return [{adapters}]

    @hookimpl
    def kdhub_components():
        return [{components}]

    @hookimpl
    def kdhub_recipes():
        return [{recipes}]
"""
PARTS = '''
    from torch import nn
    from kdhub.distill.losses import MSE

    class Example(MSE):
        """Mean squared difference.

        Args:
            none.

        Inputs:
            student: (B, D).

        References:
            None.

        Requirements:
            None.

        Relations:
            None.

        Example:
            None.
        """

        def forward(self, student, teacher):
            """Compare."""
            return super().forward(student, teacher)

    class Undocumented(nn.Module):
        def forward(self, student, teacher):
            return student

    class WantsLabels(nn.Module):
        """Says little of itself.

        Args:
            none.
        """

        def forward(self, student, teacher, labels):
            """Compare."""
            return student.sum()

    class Labelled(WantsLabels):
        __doc__ = Example.__doc__

    def Function(student, teacher):
        """A function keeps no arguments that a schedule could drive."""

    number = 3
'''
EMPTY = dict.fromkeys(("imports", "adapters", "components", "recipes"), "")
METRIC = 'Component(kind="metric", name="{name}", target="kdexample.parts:{name}", summary="Example")'
RECIPE = 'Recipe(name="{name}", path="configs/{name}.py", summary="s", task="t", teacher="t", student="s", budget="cpu-minutes")'


def make_plugin(install_fake, *, parts=PARTS, package="", configs=None, **manifest):
    install_fake(
        "kdhub-example",
        files={
            "kdexample/__init__.py": package,
            "kdexample/plugin.py": MANIFEST.format_map({**EMPTY, **manifest}),
            "kdexample/parts.py": parts,
            **{f"kdexample/configs/{name}.py": text for name, text in (configs or {}).items()},
        },
        entry_points={"kdexample": "kdexample.plugin"},
    )


def failure(install_fake, **changes):
    """Make a plugin with one defect and return what its author is told."""
    make_plugin(install_fake, **changes)
    with (
        isolated_plugins(installed=True, switches=Switches(only=("kdexample",))) as manager,
        pytest.raises(AssertionError) as told,
    ):
        assert_plugin_contract("kdexample", manager)
    return str(told.value)


def test_a_good_plugin_passes(install_fake):
    """A contract that refuses correct plugins teaches authors to skip it."""
    make_plugin(install_fake)
    with isolated_plugins(installed=True):
        assert_plugin_contract("kdexample")


def test_a_plugin_that_is_not_installed():
    """A misspelt name must not pass because it has no components to look at."""
    with isolated_plugins(), pytest.raises(AssertionError, match=r"kdnowhere: is not installed; installed are kdhub"):
        assert_plugin_contract("kdnowhere")


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("imports", "import torch"),
        ("package", "import torch"),
        ("components", METRIC.format(name="number") + " for _ in [__import__('torch')]"),
        ("imports", "from kdexample import parts"),
    ],
)
def test_a_heavy_manifest_is_found(install_fake, place, text):
    """One manifest that imports torch, or a hook of it that does, makes every kdhub command take seconds for all users."""
    assert "loading kdexample.plugin imports" in (told := failure(install_fake, **{place: text}))
    assert "torch" in told


def test_a_broken_manifest_is_told_with_its_reason(install_fake):
    """The row's reason is what `kdhub plugins list` shows; the author needs the traceback too."""
    told = failure(install_fake, imports="raise RuntimeError('no licence')")
    assert "is broken" in told
    assert "no licence" in told


@pytest.mark.parametrize("signature", ["cfg, report=None", "cfg, *, report"])
def test_hooks_with_defaults_or_keyword_only_parameters_are_found(install_fake, signature):
    """Dropped in silence by pluggy, the argument would never reach the hook."""
    hook = f"\n    @hookimpl\n    def kdhub_check_config({signature}):\n        pass\n"
    assert "kdhub_check_config: parameter" in failure(install_fake, imports=hook)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Missing", "has no attribute 'Missing'"),
        ("number", "is a int, not a metric"),
        ("Undocumented", r"is no metric -> derive it from mmengine.evaluator.BaseMetric"),
    ],
)
def test_a_component_that_is_not_what_its_kind_says(install_fake, name, message):
    """Such a component is listed, passes the check, and fails in the middle of somebody's training."""
    assert message in failure(install_fake, components=METRIC.format(name=name))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Undocumented", "kdexample.Example: has no docstring"),
        (
            "WantsLabels",
            "kdexample.Example: its docstring lacks Inputs, References, Requirements, Relations, Example ->",
        ),
        (
            "Labelled",
            "kdexample.Example: forward takes labels, student, teacher and its LossSpec declares inputs student",
        ),
        ("Function", "kdexample.Example: is no loss -> derive it from torch.nn.Module"),
    ],
)
def test_a_loss_that_is_not_as_declared(install_fake, name, message):
    """`kdhub info` shows the docstring and `kdhub check` binds by the record: both are all that a user sees of a loss."""
    assert message in failure(install_fake, parts=PARTS + f"\n    Example = {name}\n")


def test_an_adapter_of_another_signature(install_fake):
    """The objective calls adapter(value, like); names in another order would adapt the teacher to the student."""
    adapters = METRIC.format(name="Example").replace("metric", "adapter").replace('name="Example"', 'name="Adapter"')
    assert "kdexample.Adapter: forward takes student, teacher ->" in failure(install_fake, adapters=adapters)


def test_every_broken_promise_is_told_at_once(install_fake):
    """One finding a run would make an author run the test ten times."""
    told = failure(install_fake, components=", ".join(METRIC.format(name=name) for name in ("Missing", "number")))
    assert len(told.splitlines()) == 2


def test_recipes_must_be_there_and_pass_the_check(install_fake):
    """`kdhub train kdexample:small` is the first thing that a user of a plugin types."""
    recipes = ", ".join(RECIPE.format(name=name) for name in ("missing", "typo"))
    told = failure(install_fake, recipes=recipes, configs={"typo": "modle = dict(type='kdhub.Distiller')\n"})
    assert "recipe kdexample:missing: " in told
    assert "recipe kdexample:typo: does not pass `kdhub check`: error: " in told
    assert "modle" in told
