"""Documentation that is held to the code."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kdhub import hookspec
from kdhub.cli.commands import COMMANDS
from kdhub.cli.parser import Parser
from kdhub.config import check_config, load_config
from kdhub.config.types.signature import signature
from kdhub.plugins import Switches
from kdhub.testing import assert_loss_contract, isolated_plugins

ROOT = Path(__file__).resolve().parent.parent
HOOKS = [name for name in vars(hookspec) if name.startswith("kdhub_")]


@pytest.mark.parametrize("name", HOOKS)
def test_hook_page_has_the_exact_signature(name):
    """An author who follows a page with an old signature gets a plugin that is broken on load."""
    page = (ROOT / "docs/reference/hooks.md").read_text(encoding="utf-8")
    signature = str(inspect.signature(getattr(hookspec, name))).replace("'", "")
    assert f"### `{name}{signature}`" in page


def test_hook_page_has_no_hook_that_is_gone():
    """A page that documents a removed hook sends authors to a function nobody calls."""
    page = (ROOT / "docs/reference/hooks.md").read_text(encoding="utf-8")
    headings = {line.split("`")[1].split("(")[0] for line in page.splitlines() if line.startswith("### `")}
    assert headings == set(HOOKS)


PAGES = [
    "README.md",
    *(str(p.relative_to(ROOT)) for p in sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/*.md")])),
]
TOY = "dict(type='kdhub.testing.toys.ToySegmentor', width={width})"
# what a page shows as a part of a config, and the config around it
AROUND = {
    "docs/how-to/cache-a-teacher.md": f"""
model = dict(
    type='kdhub.Distiller',
    student={TOY.format(width=8)},
    teacher=teacher,
    objectives=dict(logits=dict(loss=dict(type='kdhub.MSE'), student='head', teacher='head')))
""",
    "docs/methods/bpkd.md": """
_base_ = ['mmseg::pspnet/pspnet_r18-d8_4xb2-80k_cityscapes-512x1024.py']
model = dict(
    _delete_=True,
    type='kdhub.Distiller',
    student=_base_.model,
    teacher=dict(type='kdhub.ModelTeacher', model='mmseg::pspnet/pspnet_r101-d8_4xb2-80k_cityscapes-512x1024.py'),
    objectives=dict(boundary=boundary))
""",
}


# tests/test_model_pages.py and tests/test_tutorials.py train with the configs of the others, which inherit each other
@pytest.mark.parametrize(
    "page", [page for page in PAGES if not re.search(r"/(distil-a-\w+-model\.|write-a-teacher|tutorials/)", page)]
)
def test_every_config_of_a_page_passes_the_check(page, page_blocks, tmp_path, monkeypatch):
    """What a user copies must be right: each config, and each part of one in a config around it."""
    monkeypatch.chdir(tmp_path)
    texts = [block + AROUND.get(page, "") for block in page_blocks(page)]
    configs = [text for text in texts if re.search("^model = ", text, re.MULTILINE) and "\nimport " not in f"\n{text}"]
    for number, text in enumerate(configs):
        for library in ("mmseg", "diffusers"):
            if library in text:
                pytest.importorskip(library)
        for checkpoint in re.findall('checkpoint="([^"]+)"', text):
            Path(checkpoint).touch()
        config = tmp_path / f"config_{number}.py"
        config.write_text(text.replace("model=...", f"model={TOY.format(width=16)}"), encoding="utf-8")
        with isolated_plugins(installed=True, switches=Switches()) as manager:
            report = check_config(load_config(config, manager=manager), manager)
        assert report.ok, [finding.line() for finding in report.errors]
    assert configs or page not in ("README.md", *AROUND)


@pytest.mark.parametrize("page", PAGES)
def test_every_component_on_a_page_exists_and_takes_what_is_written(page):
    """A renamed class or argument would live on in tables and sentences, where no config check looks."""
    text = (ROOT / page).read_text(encoding="utf-8")
    own = {"kdoutside", "my_loss"}  # the plugin that a page writes
    with isolated_plugins(installed=True, switches=Switches()) as manager:
        for scope, name, rest in re.findall(r"""type=["'](kd\w+|my_loss)\.(\w+)["']((?:, \w+=[^(){},]*)*)""", text):
            if scope not in own:
                entry = manager.find(f"{scope}.{name}")
                found = signature(entry.component.target)
                unknown = set(re.findall(r", (\w+)=", rest)) - {*found.names}
                assert found.open or not unknown, (entry.type, unknown)


def test_the_first_plugin_of_the_guide_works(tmp_path, page_blocks):
    """A guide whose first step fails has no second reader."""
    (tmp_path / "my_loss.py").write_text(page_blocks("docs/how-to/write-a-plugin.md")[0], encoding="utf-8")
    command = [sys.executable, "-m", "kdhub", "-p", "./my_loss.py", "info", "my_loss.HalfMSE"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_first_loss_of_the_guide_keeps_the_contract(page_blocks):
    """A loss that an author copies and that the guide's own test then refuses makes both worthless."""
    names = {}
    exec(page_blocks("docs/how-to/write-a-plugin.md")[0], names)  # noqa: S102
    (spec,) = names["kdhub_losses"]()
    assert_loss_contract(names["HalfMSE"], inputs={"student": (4, 3), "teacher": (4, 3)}, spec=spec)
    assert names["HalfMSE"].__doc__


def test_the_call_of_the_resume_contract_fits(page_blocks, tmp_path):
    """An argument that was renamed would stay on the page, since the recipe in that block is the reader's own."""
    (block,) = [text for text in page_blocks("docs/how-to/write-a-plugin.md") if "assert_resume_exact" in text]
    names = {}
    exec(block, names)  # noqa: S102
    calls = []
    parameters = inspect.signature(names["assert_resume_exact"])
    names["assert_resume_exact"] = lambda *given, **named: calls.append(parameters.bind(*given, **named))
    names["test_resume"](tmp_path)
    assert calls


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("plugins/")])
def test_every_script_of_a_plugin_s_page_runs(page, page_blocks):
    """A page that shows a function with its result is read instead of the function."""
    for block in page_blocks(page):
        exec(block, {})  # noqa: S102


@pytest.mark.parametrize("page", PAGES)
def test_no_page_holds_a_placeholder(page):
    """A number that was to be measured and was not must not be published as a word in capitals."""
    assert not re.search(r"RESULTS_|DEMO_TABLE|BENCHMARKS|TODO", (ROOT / page).read_text(encoding="utf-8"))


def test_every_message_of_the_troubleshooting_page_exists():
    """A page of messages that nobody prints any more helps nobody; a reader searches for the exact words."""
    sources = " ".join(path.read_text(encoding="utf-8") for path in ROOT.joinpath("kdhub").rglob("*.py"))
    said = re.sub(r"\s+", " ", re.sub(r'"\s*\n\s*f?"', "", sources))
    page = (ROOT / "docs/how-to/troubleshoot.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    parts = [part.strip() for row in rows for part in row.split("…") if part.strip()]
    assert len(rows) > 20
    assert not [part for part in parts if part not in said]


@pytest.mark.parametrize("page", PAGES)
def test_every_option_that_a_page_types_exists(page):
    """An option that was renamed would live on in the pages, and end the reader's first try in an error."""
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        words = line.strip().removeprefix("torchrun --nproc-per-node 4 -m ").partition(" #")[0].split()
        if words[:1] == ["kdhub"] and len(words) > 1 and words[1] in COMMANDS:
            parser = Parser(words[1], "")
            importlib.import_module(f"kdhub.cli.{COMMANDS[words[1]].module}").add_arguments(parser)
            known = {option for action in parser._actions for option in action.option_strings} | {"-p", "--no-plugins"}
            assert not {word.partition("=")[0] for word in words if re.match("--?[a-z]", word)} - known, line
