"""The rules of ``hookspec.py``, and that every hook in it is tested."""

import ast
import inspect
from pathlib import Path

import pytest

from kdhub import hookspec
from kdhub.plugins.manifest import KINDS_OF_HOOK, PREFIX, hook_names
from kdhub.records import KINDS

REPOSITORY = Path(__file__).parents[2]
SPECIFICATIONS = {name: getattr(hookspec, name) for name in hook_names()}


def test_every_function_of_the_module_is_a_hook():
    """A specification without its decorator is unknown to pluggy, and every plugin that implements it is broken."""
    functions = [
        name
        for name, value in vars(hookspec).items()
        if inspect.isfunction(value) and value.__module__ == hookspec.__name__
    ]
    assert functions == list(SPECIFICATIONS)
    assert len(functions) >= 12


@pytest.mark.parametrize("name", SPECIFICATIONS)
def test_a_specification_is_plain_and_documented(name):
    """Pluggy drops keyword-only parameters, and versions differ on defaults; the docstring is the author's manual."""
    function = SPECIFICATIONS[name]
    assert name.startswith(PREFIX)
    for parameter in inspect.signature(function).parameters.values():
        assert parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        assert parameter.default is parameter.empty
        assert parameter.annotation is not parameter.empty
    doc = inspect.getdoc(function)
    assert doc.startswith("Called ")
    assert "New in API level" in doc


def test_every_kind_has_exactly_one_registration_hook():
    """A kind with two hooks is two ways to say one thing; a kind with none cannot be offered."""
    assert sorted(kind for kinds in KINDS_OF_HOOK.values() for kind in kinds) == sorted(KINDS)


def names_of_tests():
    """Names of all test functions of the core and of the plugins in the tree."""
    files = [*REPOSITORY.glob("tests/**/test_*.py"), *REPOSITORY.glob("plugins/*/tests/**/test_*.py")]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield node.name


def test_every_hook_has_a_test_of_its_name():
    """A hook without a test is a promise to plugin authors that nobody keeps."""
    found = set(names_of_tests())
    assert not [name for name in SPECIFICATIONS if f"test_hook_{name.removeprefix(PREFIX)}" not in found]
