"""The documentation site: it builds without a broken link, and shows all that there is."""

import importlib
import inspect
import re
import runpy
import sys
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from kdhub import records
from kdhub.cli.commands import COMMANDS
from kdhub.cli.parser import Parser
from kdhub.config.types.places import DISTILLER, TOP_LEVEL_KEYS
from kdhub.plugins import Switches, load_plugins
from kdhub.records import KINDS

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = re.compile(r"\bKDHUB_[A-Z_]+\b")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        patch.setattr(sys, "argv", ["docs_site.py", "--into", str(folder)])
        runpy.run_path(str(ROOT / "tools" / "docs_site.py"), run_name="__main__")
        for name in ("docs_reference", "docs_keys", "docs_licences"):
            sys.modules.pop(name, None)
    return folder


def test_the_site_builds_without_a_broken_link(site):
    """A page that leads nowhere is found by a reader, who does not tell us."""
    assert (site / "html" / "index.html").is_file()
    for page in site.joinpath("pages").rglob("*.md"):
        assert page.read_text(encoding="utf-8").startswith("# "), f"{page} has no title"


def test_every_component_and_command_is_in_the_reference(site):
    """A component that the reference leaves out is one that nobody finds."""
    manager = load_plugins(Switches())
    reference = site / "pages" / "docs" / "reference"
    for kind in KINDS:
        for entry in manager.components(kind, None):
            page = reference / "components" / f"{entry.source.plugin}.md"
            assert f"### {entry.type}\n" in page.read_text(encoding="utf-8")
    commands = (reference / "commands.md").read_text(encoding="utf-8")
    for name in [*COMMANDS, *(command.name for _, command in manager.commands())]:
        (told,) = re.findall(rf"^## kdhub {name}\n\n```text\nusage: (.*)", commands, re.MULTILINE)
        assert told.startswith("kdhub")
    recipes = (reference / "recipes.md").read_text(encoding="utf-8")
    for source, recipe in manager.recipes():
        assert f"| `{source.plugin}:{recipe.name}` |" in recipes


def test_every_config_key_is_in_the_reference(site):
    """A key that the check knows and no page names is found in the source alone."""
    page = (site / "pages" / "docs" / "reference" / "config-keys.md").read_text(encoding="utf-8")
    for key in (*TOP_LEVEL_KEYS, *(key for key in DISTILLER if "*" not in key)):
        assert f"| `{key}` |" in page
    assert "see the text beside it |" not in page.split("`predecessors`")[1].split("\n")[0]


def test_every_dependency_has_its_licence(site):
    """Who ships kdhub must know what comes with it."""
    page = (site / "pages" / "docs" / "reference" / "licences.md").read_text(encoding="utf-8")
    assert re.search(r"^\| torch \| .*BSD.* \| kdhub", page, re.MULTILINE)
    assert re.search(r"^\| pluggy \| MIT", page, re.MULTILINE)


def test_every_option_has_its_help():
    """The reference is what `--help` says, and an option without a word there is a riddle."""
    for name, command in COMMANDS.items():
        parser = Parser(name, "")
        importlib.import_module(f"kdhub.cli.{command.module}").add_arguments(parser)
        silent = [one.dest for one in parser._actions if not one.help and one.option_strings]
        assert not silent, f"kdhub {name}: {silent}"


def test_every_field_of_a_record_is_documented():
    """An author fills in records by their docstrings, which are the reference."""
    for record in (one for one in vars(records).values() if inspect.isclass(one) and is_dataclass(one)):
        for name in inspect.get_annotations(record):  # those of its base stand in the base's own
            assert f"{name}:" in inspect.getdoc(record), f"{record.__name__}.{name}"


def test_every_environment_variable_is_documented():
    """A variable that no page names is a switch that only its author can use."""
    sources = [path for folder in ("kdhub", "plugins", "tools") for path in ROOT.joinpath(folder).rglob("*.py")]
    sources = [path for path in sources if "tests" not in path.parts and "templates" not in path.parts]
    used = {name for path in sources for name in VARIABLE.findall(path.read_text(encoding="utf-8"))}
    page = (ROOT / "docs" / "reference" / "environment.md").read_text(encoding="utf-8")
    assert used == set(VARIABLE.findall(page))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[the test](../tests/conftest.py)", "the test"),
        ("[hooks](reference/hooks.md)", "[hooks](reference/hooks.md)"),
        ("[gone](reference/gone.md)", "[gone](reference/gone.md)"),
        ("[web](https://example.org/a.py)", "[web](https://example.org/a.py)"),
        ("[part](reference/hooks.md#manifest)", "[part](reference/hooks.md#manifest)"),
    ],
)
def test_only_links_to_files_are_taken_off(text, expected, tmp_path, monkeypatch):
    """A rule that takes off more hides broken links from the strict build."""
    monkeypatch.syspath_prepend(ROOT / "tools")
    pages = tmp_path / "pages"
    (pages / "docs" / "reference").mkdir(parents=True)
    (pages / "docs" / "reference" / "hooks.md").write_text("# Hooks")
    clean = importlib.import_module("docs_site").without_links_to_files
    assert clean(text, pages / "docs" / "page.md", pages) == expected
