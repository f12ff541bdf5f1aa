"""What the commands that look print: for people, for pipes and as JSON."""

import io
import json
import re
import sys

import pytest

from kdhub.cli.commands import COMMANDS
from kdhub.cli.help import HELP
from kdhub.plugins.names import BUILTIN_COMMANDS
from kdhub.records import KINDS


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--help",),
        ("-h",),
        ("help",),
        ("--no-plugins", "--help"),
        ("-p", "no:kdret", "-h"),
        ("--no-plugins", "help"),
        ("help", "--no-plugins"),
    ],
)
def test_help_teaches(kdhub, arguments):
    """Somebody who types `kdhub` must learn what to type next."""
    outcome = kdhub(*arguments)
    assert outcome.code == 0
    assert outcome.out.strip() == HELP
    assert "examples:" in outcome.out
    assert all(name in outcome.out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_by_examples(kdhub, capsys, command):
    """A list of options does not say what a command is for; some people type `help train`, others `train --help`."""
    for arguments in ((command, "--help"), ("help", command), ("--no-plugins", "help", command)):
        with pytest.raises(SystemExit) as caught:
            kdhub(*arguments)
        assert caught.value.code == 0
        assert f"Examples:\n  kdhub {command}" in capsys.readouterr().out


def test_the_version_is_printed(kdhub):
    """The first thing an issue report asks for."""
    from importlib.metadata import version

    for switches in ((), ("--no-plugins",), ("-p", "no:kdret")):
        assert kdhub(*switches, "--version").out == f"kdhub {version('kdhub')}\n"


def test_no_plugin_can_take_a_command_of_the_core():
    """A command that is missing from the reserved names could be hijacked by a plugin."""
    assert set(COMMANDS) <= BUILTIN_COMMANDS


def test_kinds_are_counted(kdhub):
    """`kdhub list` is the table of contents."""
    counts = {row["kind"]: row["count"] for row in json.loads(kdhub("list", "--json").out)}
    losses = json.loads(kdhub("list", "losses", "--json").out)
    assert counts["losses"] == len(losses) > 0
    assert "losses" in kdhub("list").out


@pytest.mark.parametrize("kind", [*KINDS, "recipes", "commands"])
def test_every_kind_can_be_listed(kdhub, kind):
    """A kind that cannot be listed is a kind that nobody finds."""
    outcome = kdhub("list", kind, "--json")
    assert outcome.code == 0
    assert isinstance(json.loads(outcome.out), list)
    assert kdhub("list", kind).code == 0


def test_singular_and_plural_are_one(kdhub):
    """Nobody remembers which of the two it was."""
    assert kdhub("list", "loss").out == kdhub("list", "losses").out


def test_a_list_can_be_narrowed_to_one_plugin(kdhub):
    """With ten plugins the list of losses is long."""
    names = [row["name"] for row in json.loads(kdhub("list", "losses", "--scope", "kdhub", "--json").out)]
    assert names
    assert all(name.startswith("kdhub.") for name in names)


def test_an_empty_list_says_so(kdhub):
    """An empty table looks like a bug."""
    outcome = kdhub("list", "recipes", "--scope", "kdhub")
    assert outcome.out.startswith("no recipes in kdhub")


def test_info_explains_a_loss(kdhub):
    """What does it take, what does it compare, whose is it, and how is it written?"""
    out = kdhub("info", "kdhub.TemperatureKL").out
    for words in (
        "Hinton",
        "student, teacher",
        "temperature: float = ",
        "loss=dict(type='kdhub.TemperatureKL')",
        "teacher='PATH'",
        "temperature_kl.py:",
    ):
        assert words in out


def test_the_fragment_of_info_is_python(kdhub):
    """A fragment that does not parse when pasted is worse than none."""
    import ast

    for kind in KINDS:
        for row in json.loads(kdhub("list", kind, "--json").out):
            ast.parse(json.loads(kdhub("info", row["name"], "--json").out)["usage"])


def test_info_is_json(kdhub):
    """Editors show signatures from it."""
    told = json.loads(kdhub("info", "kdhub.LinearSchedule", "--json").out)
    assert told["kind"] == "schedule"
    assert [parameter["name"] for parameter in told["signature"]["parameters"]] == ["start", "end", "steps", "begin"]
    assert told["usage"].endswith("weight=dict(type='kdhub.LinearSchedule', start=..., end=..., steps=...))))")


def test_plugins_are_listed_and_explained(kdhub):
    """Which plugins are there, from where, and what do they bring?"""
    assert kdhub("plugins").out == kdhub("plugins", "list").out
    header, first, *_ = kdhub("plugins", "list").out.splitlines()
    assert header.split() == ["NAME", "VERSION", "STATUS", "TASKS", "COMPONENTS", "SUMMARY"]
    assert first.startswith("kdhub ")
    assert "kdhub_losses" in kdhub("plugins", "info", "kdhub").out
    told = json.loads(kdhub("plugins", "info", "kdhub", "--json").out)
    assert told["status"] == "ok"
    assert "TemperatureKL" in told["components"]["loss"]
    assert told["path"].endswith("plugin.py")


def test_a_broken_plugin_is_a_row_with_a_reason(kdhub, install_fake):
    """It must be seen, explained with its traceback, and fail CI only where CI asks."""
    install_fake(
        "kdhub-sick",
        files={"kdsick/__init__.py": "", "kdsick/plugin.py": "1 / 0"},
        entry_points={"kdsick": "kdsick.plugin"},
    )
    outcome = kdhub("plugins", "list")
    row = next(line for line in outcome.out.splitlines() if line.startswith("kdsick"))
    assert "broken" in row
    assert "ZeroDivisionError" in row
    assert outcome.code == 0
    assert kdhub("plugins", "list", "--strict").code == 1
    assert "Traceback" in kdhub("plugins", "info", "kdsick").out
    told = json.loads(kdhub("plugins", "info", "kdsick", "--json").out)
    assert "1 / 0" in told["traceback"]


def test_strict_is_content_with_good_plugins(kdhub):
    """A --strict that always fails is switched off."""
    assert kdhub("-p", "no:kdret", "--no-plugins", "plugins", "list", "--strict").code in (0, 1)
    rows = json.loads(kdhub("plugins", "list", "--json").out)
    assert kdhub("plugins", "list", "--strict").code == int(any(row["status"] != "ok" for row in rows))


def test_a_one_off_plugin_is_listed(kdhub, tmp_path):
    """`-p FILE` is the first step of writing a plugin."""
    path = tmp_path / "kdoneoff.py"
    path.write_text(
        "from kdhub import LossSpec, PluginInfo, hookimpl\n"
        "@hookimpl\ndef kdhub_plugin_info():\n    return PluginInfo(summary='One file', api_level=1)\n"
        "@hookimpl\ndef kdhub_losses():\n    yield LossSpec(name='Own', target='kdoneoff:Own', summary='Mine')\n"
        "class Own:\n    '''What mine does.'''\n    def __init__(self, power: int = 2): ...\n",
        encoding="utf-8",
    )
    try:
        assert "kdoneoff.Own" in kdhub("-p", path, "list", "losses").out
        assert "power: int = 2" in kdhub("-p", path, "info", "kdoneoff.Own").out
    finally:
        sys.modules.pop("kdoneoff", None)


def test_doctor_reports_and_fails_on_a_broken_plugin(kdhub, install_fake):
    """The answer to "it does not work" must be one command."""
    outcome = kdhub("doctor", "--json")
    assert outcome.code == int(any(row["level"] == "fail" for row in json.loads(outcome.out)))
    install_fake(
        "kdhub-sick",
        files={"kdsick/__init__.py": "", "kdsick/plugin.py": "1 / 0"},
        entry_points={"kdsick": "kdsick.plugin"},
    )
    outcome = kdhub("doctor")
    assert outcome.code == 1
    assert "kdsick" in outcome.out


def test_a_terminal_gets_a_table(kdhub, monkeypatch):
    """Long summaries must wrap inside their column on a terminal."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    kdhub("list", "losses")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
    assert max(map(len, lines)) <= 60
    assert any("kdhub.MSE" in line for line in lines)
