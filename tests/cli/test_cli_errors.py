"""Mistakes at the command line: one line, exit code 2, no traceback, and what was probably meant."""

import os
import subprocess
import sys

import pytest

from kdhub.cli import commands, main
from kdhub.errors import GuardError, PluginError, UsageError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lst"], "no command 'lst'"),
        (["lst"], "did you mean 'list'"),
        (["list", "lossess"], "did you mean 'losses'"),
        (["list", "losses", "--scope", "kdhbu"], "did you mean 'kdhub'"),
        (["list", "losses", "--jsn"], "did you mean '--json'"),
        (["info", "kdhub.TemperaturKL"], "did you mean 'kdhub.TemperatureKL'"),
        (["info", "kdhbu.MSE"], "did you mean 'kdhub.MSE'"),
        (["info", "MSE"], "did you mean 'kdhub.MSE'"),
        (["info"], "the following arguments are required: SCOPE.NAME"),
        (["plugins", "info"], "expected the name of a plugin"),
        (["plugins", "info", "kdhbu"], "did you mean 'kdhub'"),
        (["plugins", "show"], "invalid choice: 'show'"),
        (["check"], "the following arguments are required: CONFIG"),
        (["check", "nowhere.py"], "no config nowhere.py"),
        (["train", "kdnot:there"], "no installed plugin has the scope 'kdnot'"),
        (["train", "a.py", "--launcher", "ray"], "invalid choice: 'ray'"),
        (["train", "a.py", "--work-dirs", "x"], "did you mean '--work-dir'"),
        (["report", "nowhere"], "no folder nowhere"),
        (["-p"], "-p has no value"),
        (["--no-plugins"], "no command"),
        (["help", "lst"], "did you mean 'list'"),
        (["--json", "list"], "unknown option '--json' before the command"),
        (["--no-plugin", "list"], "did you mean '--no-plugins'"),
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line(kdhub, monkeypatch, tmp_path, arguments, words):
    """A traceback tells a user that the program is broken, and hides what to do."""
    monkeypatch.chdir(tmp_path)
    outcome = kdhub(*arguments)
    assert outcome.code == 2
    assert words in outcome.err
    assert outcome.err.startswith("kdhub: error: ")
    assert len(outcome.err.splitlines()) == 1


@pytest.fixture
def failing(monkeypatch):
    """Make `kdhub list` raise."""

    def fail(error):
        def run(args, switches):
            raise error

        monkeypatch.setattr("kdhub.cli.list.run", run)

    return fail


@pytest.mark.parametrize(
    "error",
    [UsageError("wrong"), GuardError("guarded"), PluginError("broken", plugin="kdseg", dist="kdhub-segmentation")],
)
def test_errors_meant_for_people_are_told(kdhub, failing, error):
    """Every error that kdhub raises on purpose reads as one line."""
    failing(error)
    outcome = kdhub("list")
    assert (outcome.code, outcome.err) == (2, f"kdhub: error: {error}\n")


def test_a_plugin_author_can_ask_for_the_traceback(kdhub, failing, monkeypatch):
    """In a plugin's CI the row is not enough."""
    monkeypatch.setenv("KDHUB_PLUGIN_ERRORS", "raise")
    failing(PluginError("broken", plugin="kdseg"))
    with pytest.raises(PluginError):
        kdhub("list")


def test_a_defect_keeps_its_traceback(kdhub, failing):
    """A bug of kdhub must not be dressed up as a mistake of the user."""
    failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        kdhub("list")


def test_ctrl_c_is_one_line(kdhub, failing):
    """Thirty lines of traceback for Ctrl-C hide whether anything was saved."""
    failing(KeyboardInterrupt())
    outcome = kdhub("list")
    assert (outcome.code, outcome.err) == (2, "kdhub: interrupted\n")


def test_a_pipe_that_is_not_unicode():
    """The texts of `info` and hits of `search` ended in a UnicodeEncodeError where the output is written in ASCII or cp1252."""
    command = [sys.executable, "-m", "kdhub", "info", "kdhub.TemperatureKL"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u" in done.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_quiet(unbuffered):
    """`kdhub list losses | head -1` must not end in an exception."""
    code = "from kdhub.cli.main import entry; import sys; sys.argv = ['kdhub', 'info', 'kdhub.TemperatureKL', '--json']; entry()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() in (0, 120)


def test_a_command_of_a_plugin_runs_with_its_arguments(kdhub, install_fake):
    """A plugin's command is the user's door to what a method does besides training."""
    files = {
        "kdcmd/__init__.py": "",
        "kdcmd/plugin.py": (
            "from kdhub import Command, PluginInfo, hookimpl\n"
            "@hookimpl\ndef kdhub_plugin_info():\n    return PluginInfo(summary='Commands', api_level=1)\n"
            "@hookimpl\ndef kdhub_add_commands():\n"
            "    yield Command('greet', 'Greet', 'kdcmd.greet:main')\n"
            "    yield Command('absent', 'Absent', 'kdcmd.absent:main')\n"
            "    yield Command('break', 'Break', 'kdcmd.greet:broken')\n"
            "    yield Command('mute', 'Mute', 'kdcmd.greet:mute')\n"
        ),
        "kdcmd/greet.py": (
            "def main(argv):\n    print('hello', *argv)\n    return 3\n"
            "def broken(argv):\n    return {}[argv[0]]\n"
            "def mute(argv):\n    pass\n"
        ),
    }
    install_fake("kdhub-cmd", files=files, entry_points={"kdcmd": "kdcmd.plugin"})
    outcome = kdhub("greet", "you", "--loud")
    assert (outcome.code, outcome.out) == (3, "hello you --loud\n")
    assert "kdhub greet" in kdhub("list", "commands").out
    assert "did you mean 'greet'" in kdhub("gret").err
    outcome = kdhub("absent")
    assert outcome.code == 2
    assert "kdhub-cmd 1.0" in outcome.err
    # a traceback, or int(None), would be taken for a defect of kdhub
    outcome = kdhub("break", "it")
    assert outcome.code == 2
    assert "plugin 'kdcmd' (kdhub-cmd 1.0): broken raised KeyError: 'it'" in outcome.err
    assert kdhub("mute").code == 0


def test_every_command_has_a_module():
    """A misspelt module fails only for the user who types the command."""
    import importlib

    for command in commands.COMMANDS.values():
        module = importlib.import_module(f"kdhub.cli.{command.module}")
        assert callable(module.add_arguments)
        assert callable(module.run)


def test_the_process_ends_with_the_exit_code(monkeypatch):
    """Scripts and CI read nothing else."""
    monkeypatch.setattr(sys, "argv", ["kdhub", "lst"])
    with pytest.raises(SystemExit) as caught:
        main.entry()
    assert caught.value.code == 2
