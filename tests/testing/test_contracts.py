"""The contract helpers themselves: each must find the defect it exists for, and say what to mend."""

import pytest
import torch
from torch import nn

from kdhub.records import LossSpec
from kdhub.testing import isolated_plugins
from kdhub.testing.contracts import (
    assert_adapter_contract,
    assert_loss_contract,
    assert_plugin_contract,
    assert_schedule_contract,
)

SHAPES = {"student": (4, 6), "teacher": (4, 6)}


class GoodLoss(nn.Module):
    def __init__(self, power=2.0):
        super().__init__()
        self.power = power

    def forward(self, student, teacher, mask=None):
        return (student.float() - teacher.float().detach()).abs().pow(self.power).mean()


class NoModule:
    def forward(self, student, teacher):
        return student.sum()


class ForgetsArgument(GoodLoss):
    def __init__(self, power=2.0, margin=0.5):
        super().__init__(power)


class HidesArgument(GoodLoss):
    def __init__(self, power=2.0):
        super().__init__(2 * power)


class TakesAnything(GoodLoss):
    def forward(self, student, teacher, **others):
        return super().forward(student, teacher)


class Unreduced(GoodLoss):
    def forward(self, student, teacher):
        return (student.float() - teacher.detach().float()).square()


class ReturnsNumber(GoodLoss):
    def forward(self, student, teacher):
        return super().forward(student, teacher).item()


class NoTerm(GoodLoss):
    def forward(self, student, teacher):
        return {}


class NotFinite(GoodLoss):
    def forward(self, student, teacher):
        return {"a": super().forward(student, teacher), "b": student.float().clamp(max=0).log().sum()}


class AlwaysZero(GoodLoss):
    def forward(self, student, teacher):
        return 0.0 * student.float().sum()


class Dropout(GoodLoss):
    def forward(self, student, teacher):
        return super().forward(nn.functional.dropout(student), teacher)


class DetachesStudent(GoodLoss):
    def forward(self, student, teacher):
        return super().forward(student.detach(), teacher)


class ForgetsOneStudent(GoodLoss):
    def forward(self, student, student_extra, teacher):
        return super().forward(student, teacher)


class FlatGradient(GoodLoss):
    def forward(self, student, teacher):
        return super().forward(student.round() + 0 * student, teacher)


class RootAtZero(GoodLoss):
    def forward(self, student, teacher):
        distances = [(v.float()[:, None] - v.float()).square().sum(-1).sqrt() for v in (student, teacher.detach())]
        return super().forward(*distances)


class LeaksIntoTeacher(GoodLoss):
    def forward(self, student, teacher):
        return (student.float() - teacher.float()).square().mean()


class OverflowsInHalf(GoodLoss):
    def forward(self, student, teacher):
        return (student - teacher.detach()).square().mean().float()


class ComputesInHalf(GoodLoss):
    def forward(self, student, teacher):
        return (student - teacher.detach()).abs().mean()


class RestsElsewhere(GoodLoss):
    def forward(self, student, teacher):
        return super().forward(student, teacher + 1)


class PullsAtEquality(GoodLoss):
    def forward(self, student, teacher):
        difference = student.float() - teacher.float().detach()
        return difference.square().mean() + difference.mean()


class FirstSampleOnly(GoodLoss):
    def forward(self, student, teacher):
        weight = torch.arange(1.0, 1.0 + len(student)).unsqueeze(1)
        return super().forward(weight * student.float(), weight * teacher.float())


class LosesState(GoodLoss):
    def __init__(self):
        super().__init__()
        self.center = torch.randn(6)

    def forward(self, student, teacher):
        return super().forward(student.float() * self.center, teacher.float() * self.center)


class OddState(GoodLoss):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, student, teacher):
        return self.scale * super().forward(student, teacher)

    def get_extra_state(self):
        return object()

    def set_extra_state(self, state):
        pass


def spec(**fields):
    return LossSpec(name="Example", target="example:Example", summary="Example", **fields)


@pytest.mark.parametrize("loss", [GoodLoss, GoodLoss(3.0)])
def test_a_good_loss_passes(loss):
    """A contract that refuses correct losses teaches authors to skip it."""
    assert_loss_contract(loss, inputs=SHAPES, spec=spec(optional=("mask",)))


def test_a_good_loss_of_several_terms_passes():
    """A dict of scalars is as good as a scalar."""

    class TwoTerms(GoodLoss):
        def forward(self, student, teacher):
            value = super().forward(student, teacher)
            return {"edge": value, "body": 2 * value}

    assert_loss_contract(TwoTerms, inputs=SHAPES, spec=spec())


def test_the_callers_random_numbers_are_left_alone():
    """A helper that reseeds the generator makes the author's other tests depend on their order."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    assert_loss_contract(GoodLoss, inputs=SHAPES)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (NoModule, "is no torch.nn.Module -> derive"),
        (ForgetsArgument, r"argument 'margin' is not kept -> write self\.margin = margin"),
        (HidesArgument, r"argument power=2\.0 is kept as 4\.0"),
        (TakesAnything, r"forward takes \*\*others -> name every input"),
        (Unreduced, r"returns \(4, 6\) -> reduce it"),
        (ReturnsNumber, "returns float -> return a tensor"),
        (NoTerm, "returns no term"),
        (NotFinite, r"is nan for normal numbers \(term 'b'\)|is -inf for normal numbers \(term 'b'\)"),
        (AlwaysZero, "is 0 though student and teacher differ"),
        (Dropout, "two values for the same inputs -> leave random numbers"),
        (DetachesStudent, "has no gradient -> compute with the student's tensors"),
        (FlatGradient, "gradient of 'student' is 0 everywhere"),
        (RootAtZero, "gradient of 'student' is not finite -> look for a root"),
        (LeaksIntoTeacher, r"a gradient reaches 'teacher' -> write teacher = teacher\.detach\(\)"),
        (OverflowsInHalf, r"is inf for torch\.float16 values up to 10000 -> raise the inputs with \.float\(\)"),
        (ComputesInHalf, r"computes in torch\.float16 .* -> raise the inputs with \.float\(\)"),
        (RestsElsewhere, "at equality -> mend it, or set zero_at_equality=False"),
        (PullsAtEquality, "pulls 'student' by .* at equality"),
        (FirstSampleOnly, "depends on the order of the batch -> .*batch_order=False"),
        (LosesState, r"another value after a checkpoint -> keep what it learns in nn\.Parameter"),
        (OddState, "state_dict does not load again .* -> keep tensors in it"),
    ],
)
def test_a_bad_loss_is_told_what_to_mend(loss, message):
    """Each of these trains without an error and gives a worse student, or fails far from its cause."""
    declared = spec(optional=("mask",)) if loss.forward is GoodLoss.forward else spec()
    with pytest.raises(AssertionError, match=rf"^{loss.__name__}: .*(?:{message})"):
        assert_loss_contract(loss, inputs=SHAPES, spec=declared if loss is not TakesAnything else None)


def test_an_unused_student_input_is_found():
    """A second input that enters nowhere is a tap and an adapter that train nothing."""
    inputs = {**SHAPES, "student_extra": (4, 2)}
    with pytest.raises(AssertionError, match="no gradient reaches 'student_extra'"):
        assert_loss_contract(ForgetsOneStudent, inputs=inputs)


@pytest.mark.parametrize(
    ("inputs", "fields", "message"),
    [
        (SHAPES, {}, "declares optional nothing"),
        (
            SHAPES,
            {"inputs": ("student", "teacher", "labels"), "optional": ("mask",)},
            "declares inputs labels, student",
        ),
        ({"student": (4, 6)}, {"optional": ("mask",)}, "no example for teacher"),
        ({**SHAPES, "maks": (4,)}, {"optional": ("mask",)}, "forward does not take maks"),
        ({"student": (1, 6), "teacher": (1, 6)}, {"optional": ("mask",)}, "tested with one sample"),
    ],
)
def test_inputs_that_are_not_those_declared(inputs, fields, message):
    """`kdhub check` binds by the record: a name it lacks is refused there, a name it invents fails in training."""
    with pytest.raises(AssertionError, match=message):
        assert_loss_contract(GoodLoss, inputs=inputs, spec=spec(**fields))


def test_arguments_belong_to_a_class():
    """Arguments beside an instance would be ignored in silence."""
    with pytest.raises(AssertionError, match="give the class"):
        assert_loss_contract(GoodLoss(), arguments={"power": 3.0}, inputs=SHAPES)


class GoodAdapter(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 9)

    def forward(self, value, like):
        return self.layer(value)


class SwapsArguments(GoodAdapter):
    def forward(self, like, value):
        return self.layer(value)


class WrongShape(GoodAdapter):
    def forward(self, value, like):
        return value


class DividesByZero(GoodAdapter):
    def forward(self, value, like):
        return self.layer(value) / 0


class CutsGradient(GoodAdapter):
    def forward(self, value, like):
        return self.layer(value.detach())


class CopiesTeacher(GoodAdapter):
    def forward(self, value, like):
        return self.layer(value) + like


class PeeksAtTeacher(GoodAdapter):
    def forward(self, value, like):
        return self.layer(value) + like.detach().mean()


class RefusesHalf(GoodAdapter):
    def forward(self, value, like):
        if value.dtype == torch.bfloat16:
            raise RuntimeError("not implemented for 'BFloat16'")
        return self.layer(value)


class OverflowsUnderAutocast(GoodAdapter):
    def forward(self, value, like):
        result = self.layer(value)
        return result if result.dtype == torch.float32 else result / 0


class LosesWeights(GoodAdapter):
    def __init__(self):
        super().__init__()
        self.hidden = [torch.randn(9)]

    def forward(self, value, like):
        return self.layer(value) + self.hidden[0]


def test_a_good_adapter_passes():
    """A contract that refuses correct adapters teaches authors to skip it."""
    assert_adapter_contract(GoodAdapter, value=(4, 6), like=(4, 9))
    assert_adapter_contract(WrongShape, value=(4, 6), like=(4, 9), result=(4, 6))


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        (NoModule, "is no torch.nn.Module"),
        (SwapsArguments, r"forward takes like, value -> write forward\(self, value, like\)"),
        (WrongShape, r"turns \(4, 6\) into \(4, 6\), wanted \(4, 9\)"),
        (DividesByZero, "not finite"),
        (CutsGradient, "no gradient reaches the student's value"),
        (CopiesTeacher, "a gradient reaches the teacher's value"),
        (PeeksAtTeacher, "depends on the teacher's numbers"),
        (RefusesHalf, r"fails on torch\.bfloat16 under autocast"),
        (OverflowsUnderAutocast, r"is not finite on torch\.float32 under autocast"),
        (LosesWeights, "another value after a checkpoint"),
    ],
)
def test_a_bad_adapter_is_told_what_to_mend(adapter, message):
    """An adapter that peeks at the teacher makes the loss fall without the student learning anything."""
    with pytest.raises(AssertionError, match=rf"^{adapter.__name__}: .*{message}"):
        assert_adapter_contract(adapter, value=(4, 6), like=(4, 9))


class Counts:
    def __init__(self):
        self.calls = 0

    def __call__(self, step):
        self.calls += 1
        return float(self.calls)


class NotCallable:
    pass


def test_a_good_schedule_passes():
    """A plain function is a schedule."""
    assert_schedule_contract(lambda step: 1.0 / (1 + step))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Counts, "Counts: remembers"),
        (NotCallable, "NotCallable: cannot be called"),
        (lambda step: step, "gives 0 of type int at step 0"),
        (lambda step: 1.0 if step < 50 else float("inf"), "is inf at step 50"),
        (lambda step: torch.ones(()), "of type Tensor"),
    ],
)
def test_a_bad_schedule_is_told_what_to_mend(schedule, message):
    """A schedule that counts its own calls goes on from 0 after a resume."""
    with pytest.raises(AssertionError, match=message):
        assert_schedule_contract(schedule)


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
    from kdhub.plugins import Switches

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


@pytest.mark.parametrize("place", ["imports", "package"])
def test_a_heavy_manifest_is_found(install_fake, place):
    """One manifest that imports torch makes every `kdhub --help` take seconds, for all users of all plugins."""
    assert "importing kdexample.plugin imports" in (told := failure(install_fake, **{place: "import torch"}))
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
