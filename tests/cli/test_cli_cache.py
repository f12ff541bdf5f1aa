"""`kdhub cache`: fill, look, check, train."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def stored_config(toy_config: Path) -> Path:
    """The toy config with its teacher in a store of eight classes of which three are kept."""
    path = toy_config.with_name("stored_config.py")
    path.write_text(
        f"""_base_ = {str(toy_config)!r}
model = dict(
    student=dict(classes=8),
    teacher=dict(
        _delete_=True,
        type='kdhub.StoredTeacher',
        store='store',
        precision='topk:3',
        teacher=dict(type='kdhub.ModelTeacher', model=dict(type='kdhub.testing.toys.ToySegmentor', width=16, classes=8))))
randomness = dict(seed=0)
""",
        encoding="utf-8",
    )
    return path


def test_fill_look_check_and_train(kdhub: Callable[..., Any], stored_config: Path) -> None:
    """These four lines are what the guide tells to type, each after the other."""
    warned = kdhub("check", stored_config)
    assert warned.code == 0
    assert (
        "model.teacher.store: there is no teacher store yet (got store) -> write it: kdhub cache CONFIG" in warned.out
    )
    filled = kdhub("cache", stored_config)
    assert filled.code == 0, filled.err
    assert "teacher 'teacher': 4 records written now" in filled.out
    assert "nothing to do" in kdhub("cache", stored_config).out
    assert "store is a store, not a config -> kdhub cache info store" in kdhub("cache", "store").err
    assert "head: topk:3, " in filled.out
    assert "nats on average" in filled.out
    assert f"next: kdhub train {stored_config}" in filled.out
    looked = kdhub("cache", "info", "store")
    assert looked.code == 0
    assert "store: 4 records, complete; " in looked.out
    assert "ToyImages of 4" in looked.out
    checked = kdhub("cache", "verify", "store")
    assert checked.code == 0
    assert re.fullmatch(r"store: all 4 records, [\d.]+ KiB, are as they were written\n", checked.out)
    trained = kdhub("train", stored_config)
    assert trained.code == 0, trained.err
    assert "answers from store (4 records)" in trained.err


def test_warnings_of_the_check_are_printed(kdhub: Callable[..., Any], stored_config: Path) -> None:
    """A warning that only `kdhub check` prints is read after the teacher has run for a day."""
    filled = kdhub("cache", stored_config)
    assert filled.code == 0, filled.err
    assert "warning: model.student.type: import path" in filled.err
    assert "there is no teacher store yet" not in filled.err  # which is why the command was typed


def test_the_teacher_is_evaluated_where_the_config_validates(kdhub: Callable[..., Any], stored_config: Path) -> None:
    """What a store's teacher reaches is the first question of whoever finds the store."""
    with stored_config.open("a", encoding="utf-8") as stream:
        stream.write("val_dataloader = {{_base_.loader}}\nval_cfg = dict()\nval_evaluator = dict(type='Samples')\n")
    assert kdhub("cache", stored_config).code == 0
    looked = kdhub("cache", "info", "store").out
    assert re.search(r"validation     samples 4 \(recorded by kdhub cache on 2[\d-]+\), ToyImages of 4", looked)
    facts = json.loads(kdhub("cache", "info", "store", "--json").out)
    assert [entry["metrics"] for entry in facts["metrics"]] == [{"samples": 4.0}]


def test_programs_get_json(kdhub: Callable[..., Any], stored_config: Path) -> None:
    """A script that reads the table for people breaks with its next word."""
    assert kdhub("cache", stored_config).code == 0
    facts = json.loads(kdhub("cache", "info", "store", "--json").out)
    assert (facts["path"], facts["records"], facts["missing"], facts["metrics"]) == ("store", 4, 0, [])
    assert facts["taps"]["head"]["precision"] == "topk:3"
    checked = kdhub("cache", "verify", "store", "--json")
    assert (checked.code, json.loads(checked.out)) == (0, {"path": "store", "sound": True, "damage": []})


def test_verify_names_what_is_damaged(kdhub: Callable[..., Any], stored_config: Path) -> None:
    """A script that copies stores about has nothing but the exit code to go by."""
    assert kdhub("cache", stored_config).code == 0
    (block,) = Path("store").glob("*.safetensors")
    content = bytearray(block.read_bytes())
    content[-5] ^= 1
    block.write_bytes(content)
    found = kdhub("cache", "verify", "store")
    assert found.code == 1
    assert "is damaged" in found.out
    facts = kdhub("cache", "verify", "store", "--json")
    assert facts.code == 1
    assert json.loads(facts.out)["sound"] is False
    assert "is damaged" in json.loads(facts.out)["damage"][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("info",), "kdhub cache info: no STORE"),
        (("info", "nowhere"), "no teacher store here"),
        (("toy_config.py", "store"), "unexpected argument 'store' after 'toy_config.py'"),
        (("inof", "store"), "did you mean 'info'?"),
        (("toy_config.py",), "the config has no stored teacher"),
        (("toy_config.py", "--json"), "--json without info or verify -> kdhub cache info STORE --json"),
    ],
)
@pytest.mark.usefixtures("toy_config")
def test_a_mistake_is_told_in_one_line(kdhub: Callable[..., Any], arguments: tuple[str, ...], said: str) -> None:
    """Somebody who mixes up the two forms of the command must not read a traceback."""
    outcome = kdhub("cache", *arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert "Traceback" not in outcome.err


def test_a_store_that_is_a_file_is_found_by_the_check(kdhub: Callable[..., Any], stored_config: Path) -> None:
    """The check knows before anything is built, and builds nothing."""
    Path("store").write_text("precious", encoding="utf-8")
    outcome = kdhub("cache", stored_config)
    assert outcome.code == 2
    assert "model.teacher.store: the store is a file (expected a folder, got store)" in outcome.err


def test_a_mistake_in_the_live_teacher_is_found_by_the_check(kdhub: Callable[..., Any], stored_config: Path) -> None:
    """What stands inside of the stored teacher is built like any other component, so it must be checked like one."""
    text = stored_config.read_text(encoding="utf-8").replace("kdhub.ModelTeacher", "kdhub.ModelTeecher")
    stored_config.write_text(text, encoding="utf-8")
    outcome = kdhub("check", stored_config)
    assert outcome.code == 1
    assert "model.teacher.teacher" in outcome.out
    assert "ModelTeacher" in outcome.out


def test_probe_shows_the_live_teacher_of_a_store(kdhub: Callable[..., Any], stored_config: Path) -> None:
    """Before there is a store, one wants to know what of the teacher could be stored."""
    outcome = kdhub("probe", stored_config, "--side", "teacher")
    assert outcome.code == 0, outcome.err
    assert "head" in outcome.out


def test_a_missing_store_says_the_command_with_what_was_typed(kdhub: Callable[..., Any], stored_config: Path) -> None:
    """The command line has to tell the engine what was typed: without the overrides another store would be filled."""
    overrides = ("--cfg-options", "train_dataloader.batch_size=1")
    told = kdhub("train", stored_config, *overrides).err
    assert f"kdhub cache {stored_config} {' '.join(overrides)}" in told
