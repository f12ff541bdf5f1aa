"""Building one component: a mistake in a config reads as one, a failure inside a constructor stays what it is."""

import functools
import sys

import pytest
from mmengine import ConfigDict
from mmengine.registry import MODELS, DefaultScope, Registry

from kdhub.errors import UnknownComponentError, UsageError
from kdhub.registry import build, find


def test_a_dict_is_built_with_defaults_below_it(toy):
    """What the config says must win over what the caller offers."""
    built = build("loss", {"type": "kdtoy.ToyLoss", "axis": 2}, weight=3.0, axis=9)
    assert (built.weight, built.axis, built.strict) == (3.0, 2, False)


def test_the_config_is_not_changed(toy):
    """A popped type would make the second objective of the same dict fail."""
    cfg = ConfigDict(type="kdtoy.ToyLoss", weight=1.0)
    build("loss", cfg)
    assert cfg == {"type": "kdtoy.ToyLoss", "weight": 1.0}


def test_what_is_built_already_passes_through(toy):
    """Python users hand in objects."""
    made = object()
    assert build("loss", made) is made
    assert build("collate", len) is len


def test_a_class_for_type_is_called(toy):
    """Configs written in Python may name the class itself."""
    assert build("loss", {"type": dict, "weight": 1}) == {"weight": 1}
    with pytest.raises(UsageError, match="a name or a class"):
        build("loss", {"type": 3})


def test_a_wrong_keyword_says_which_and_what_was_meant(toy):
    """A bare TypeError names neither the place in the config nor the keyword that was meant."""
    with pytest.raises(UsageError) as caught:
        build("loss", {"type": "kdtoy.ToyLoss", "wieght": 1.0}, where="model.objectives.edge.loss")
    assert str(caught.value) == (
        "model.objectives.edge.loss: kdtoy.ToyLoss takes no 'wieght' (expected any of weight, axis, strict);"
        " did you mean 'weight'?"
    )


def test_a_missing_keyword_says_which(toy):
    """The same for what was forgotten."""
    with pytest.raises(UsageError, match=r"kdtoy.ToyLoss needs 'weight' \(got axis\)"):
        build("loss", {"type": "kdtoy.ToyLoss", "axis": 1})


def test_a_type_error_from_inside_a_constructor_is_not_masked(toy):
    """Turning it into "wrong keyword" would send the user to a config that is right."""
    with pytest.raises(TypeError, match="str") as caught:
        build("loss", {"type": "kdtoy.ToyLoss", "weight": "text"})
    assert not isinstance(caught.value, UsageError)


def test_free_keywords_are_let_through(toy):
    """A function with **options takes any keyword; refusing it would forbid what Python allows."""
    assert build("collate", {"type": "kdtoy.toy_collate", "batch": [1], "other": 2}) == ([1], {"other": 2})


@pytest.mark.parametrize(
    ("cfg", "expected"),
    [
        ({"weight": 1.0}, "not a loss (expected a dict with 'type'"),
        ("kdtoy.ToyLoss", "-> dict(type='kdtoy.ToyLoss')"),
    ],
)
def test_a_value_without_type_is_refused(toy, cfg, expected):
    """A string where a dict belongs would pass as "built already" and fail in the first step."""
    with pytest.raises(UsageError) as caught:
        build("loss", cfg, where="here")
    assert str(caught.value).startswith("here: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("kdtoy.ToyMetric", "'kdtoy.ToyMetric' is a metric; this place wants a loss"),
        ("kdtoy.ToyLos", "did you mean 'kdtoy.ToyLoss'"),
        ("kdseg.BPKDLoss", "plugins/kdhub-segmentation"),
        ("kdsad.Any", "plugin 'kdsad' (kdsad-dist 1.0) is broken"),
        ("kdtyo.ToyLoss", "did you mean 'kdtoy.ToyLoss'"),
        ("ToyLoss", "did you mean 'kdtoy.ToyLoss'"),
        ("torch.nn.NoSuchLoss", "'torch.nn.NoSuchLoss' is not in mmengine's registry 'model' and cannot be imported"),
        ("mmengine.NoSuchLoss", "'mmengine.NoSuchLoss' is not in mmengine's registry 'model' and cannot be imported"),
    ],
)
def test_an_unknown_type_says_why_and_where(toy, type_, expected):
    """Each cause has its remedy, and a config of two hundred lines needs the place."""
    with pytest.raises(UnknownComponentError) as caught:
        build("loss", {"type": type_}, where="here")
    assert str(caught.value).startswith("here: ")
    assert expected in str(caught.value)


def test_types_of_other_packages_are_mmengine_s(toy):
    """A loss of mmseg, or of torch by its path, is as good as a plugin's."""
    other = Registry("other models", parent=MODELS, scope="kdother")

    @other.register_module()
    class OtherLoss:
        def __init__(self):
            self.scope = DefaultScope.get_current_instance().scope_name

    try:
        assert type(build("loss", {"type": "kdother.OtherLoss", "_scope_": "kdother"})) is OtherLoss
        with DefaultScope.overwrite_default_scope("kdother"):
            assert build("loss", {"type": "OtherLoss"}).scope == "kdother"
    finally:
        MODELS.children.pop("kdother")
    assert build("loss", {"type": "torch.nn.MSELoss", "reduction": "sum"}).reduction == "sum"


def test_find_knows_what_is_a_plugin_s(toy):
    """The distiller asks for a loss's declared inputs, and must not fail on mmseg's losses, which declare none."""
    assert find("kdtoy.ToyLoss", "loss").inputs == ("student", "teacher")
    assert find("mmseg.CrossEntropyLoss") is None
    assert find("ReLU") is None
    assert find("kdtoy.parts.NotDeclared") is None
    with pytest.raises(UnknownComponentError):
        find("kdtoy.Typo")
    assert "kdtoy.parts" not in sys.modules


def test_a_constructor_that_shows_another_signature_gets_its_keywords():
    """Configurations of transformers show their fields and take `num_labels` besides; refused, no classifier is built."""

    class Shown:
        def __init__(self, width=1):
            pass

    class Wrapped:
        @functools.wraps(Shown.__init__)
        def __init__(self, *arguments, **more):
            self.more = more

    assert build("model", {"type": Wrapped, "labels": 3}).more == {"labels": 3}
    with pytest.raises(UsageError, match="takes no 'labels'"):
        build("model", {"type": Shown, "labels": 3})


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("json.decoder.JSONDecodr", "'json.decoder' has no 'JSONDecodr'.*did you mean 'json.decoder.JSONDecoder'"),
        ("json.lodas", "'json' has no 'lodas'.*did you mean 'json.loads'"),
        ("no_such_package.sub.Name", "No module named 'no_such_package'"),
    ],
)
def test_an_import_path_that_leads_nowhere_says_where_it_ends(path, words):
    """Mmengine keeps the reason to itself, and looks for the name among its own."""
    with pytest.raises(UnknownComponentError, match=words):
        build("model", {"type": path})
