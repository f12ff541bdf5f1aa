"""Damaged checkpoints, and damaged files about them: named, passed over, never used."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from mmengine.registry import METRICS

from kdhub.checkpoint import read_checkpoint
from kdhub.checkpoint.intact import damage_of
from kdhub.cli.main import main
from kdhub.engine.test import test as evaluate
from kdhub.engine.train import train
from kdhub.engine.workdir.lock import folder_lock
from kdhub.engine.workdir.work_dir import checkpoint_to_resume, latest_checkpoint, saved_checkpoints
from kdhub.errors import UsageError
from kdhub.sealed import DamagedFileError, read_sealed, write_sealed

SAVING = {"checkpoint": {"interval": 2, "by_epoch": False}}


@METRICS.register_module(force=True)
class TinyProgress(tiny.TinyAccuracy):
    """Finds each student better than the one before."""

    steps = itertools.count()

    def compute_metrics(self, results: list[int]) -> dict[str, float]:
        return {**super().compute_metrics(results), "steps": float(next(self.steps))}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train once, with checkpoints at iterations 2, 4 and 6."""
    return train(tiny.config(tmp_path_factory.mktemp("run"), default_hooks=SAVING)).work_dir


def flip(path: Path, position: int | None = None) -> None:
    """Change one bit in the middle of a file, as a bad disk does: without changing its time."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if position is None else position] ^= 1
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def flip_weights(path: Path) -> None:
    """Change a bit of a tensor, which torch reads without complaint."""
    weights = read_checkpoint(path)["state_dict"]["head.weight"]
    flip(path, path.read_bytes().index(weights.numpy().tobytes()))


def truncate(path: Path) -> None:
    """Lose the second half of a file."""
    os.truncate(path, path.stat().st_size // 2)


def chosen(work_dir: Path) -> tuple[str, list[str]]:
    """Return the name of the checkpoint that --resume takes, and what is said about it."""
    path, warnings = checkpoint_to_resume(work_dir, True)
    return path.name, warnings


def test_the_best_checkpoint_is_checked_and_not_resumed_from(tmp_path: Path) -> None:
    """It holds no optimizer: a run that went on from it would start with none."""
    saving = {"checkpoint": {"interval": 3, "by_epoch": False, "save_best": "tiny/accuracy"}}
    train(tiny.config(tmp_path, default_hooks=saving))
    best = next(tmp_path.glob("best_*.pth"))
    flip(tmp_path / "iter_6.pth")
    assert chosen(tmp_path)[0] == "iter_3.pth"
    flip(best)
    with pytest.raises(UsageError, match=rf"{best.name}: the checkpoint is damaged"):
        train(tiny.config(tmp_path), resume=best)


def test_no_flipped_bit_changes_what_a_checkpoint_holds_unseen(tmp_path: Path) -> None:
    """Of a part whose bit for folders is flipped torch gives zeros, and a flip in the table of contents it cannot read."""
    path, weights = tmp_path / "iter_1.pth", torch.arange(8.0)
    torch.save({"state_dict": {"w": weights}}, path)
    content = path.read_bytes()
    assert damage_of(path) is None
    begin = content.index(b"PK\x01\x02")  # the table of contents, which has no checksum
    for position, bit in itertools.product(range(begin, len(content), 2), range(0, 8, 2)):
        changed = bytearray(content)
        changed[position] ^= 1 << bit
        path.write_bytes(changed)
        assert damage_of(path) or torch.equal(read_checkpoint(path)["state_dict"]["w"], weights)


def test_a_checkpoint_that_holds_more_than_data_is_not_called_damaged(tmp_path: Path) -> None:
    """The refusal that names the program in it, and what to do, would be hidden behind advice to restore it."""
    torch.save({"state_dict": {}, "meta": Path}, tmp_path / "iter_1.pth")
    assert damage_of(tmp_path / "iter_1.pth") is None


@pytest.mark.parametrize("damage", [flip, flip_weights, truncate])
def test_a_damaged_checkpoint_is_passed_over_by_name(work_dir: Path, damage, capfd) -> None:
    """Mmengine resumes from flipped weights in silence, and dies with a traceback at truncated ones."""
    damage(work_dir / "iter_6.pth")
    train(tiny.config(work_dir, default_hooks=SAVING), resume=True)
    told = [line for line in capfd.readouterr().err.splitlines() if "is damaged (" in line]
    assert len(told) == 1
    assert "iter_6.pth is damaged (" in told[0]
    assert "using iter_4.pth instead" in told[0]
    assert chosen(work_dir) == ("iter_6.pth", [])
    assert read_checkpoint(work_dir / "iter_6.pth")["meta"]["iter"] == 6


def test_each_damaged_one_is_named(work_dir: Path) -> None:
    """Who is told of one only believes the other to be whole."""
    flip(work_dir / "iter_6.pth")
    truncate(work_dir / "iter_4.pth")
    name, warnings = chosen(work_dir)
    assert name == "iter_2.pth"
    assert [line.split()[0] for line in warnings] == ["iter_6.pth", "iter_4.pth"]


def test_no_healthy_checkpoint_is_a_refusal(work_dir: Path) -> None:
    """Starting over in silence would throw the run away."""
    for path in work_dir.glob("iter_*.pth"):
        flip(path)
    with pytest.raises(UsageError, match=r"every checkpoint.*iter_6\.pth.*iter_4\.pth.*iter_2\.pth.*--resume PATH"):
        train(tiny.config(work_dir), resume=True)


@pytest.mark.parametrize(
    "damage",
    [flip, truncate, *(lambda path, text=text: path.write_bytes(text) for text in (b"", b"\xff\x00", b"x" * 5000))],
)
@pytest.mark.parametrize("name", ["last_checkpoint", "run.json"])
def test_a_damaged_file_about_the_run_does_not_stop_a_resume(work_dir: Path, name: str, damage) -> None:
    """A traceback of a JSON parser, or a resume from the wrong file, for one byte in a file nobody ever looks at."""
    damage(work_dir / name)
    train(tiny.config(work_dir, default_hooks=SAVING), resume=True)
    assert chosen(work_dir) == ("iter_6.pth", [])
    assert json.loads((work_dir / "run.json").read_text())["status"] == "finished"


def test_every_flipped_byte_of_the_card_is_seen_or_harmless(work_dir: Path) -> None:
    """A digit changed in a metric lies in the report."""
    path = work_dir / "run.json"
    healthy, text = read_sealed(path), path.read_bytes()
    for position in range(0, len(text), 7):
        flip(path, position)
        with contextlib.suppress(DamagedFileError):
            assert read_sealed(path) == healthy
        path.write_bytes(text)


def test_a_damaged_card_is_kept_aside_and_the_resume_told(work_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Evaluations of the first half are in that file only: it is not ours to throw away."""
    truncate(work_dir / "run.json")
    damaged = (work_dir / "run.json").read_bytes()
    with pytest.raises(UsageError, match=r"run\.json is damaged, so nobody can tell.*--resume goes on"):
        train(tiny.config(work_dir))
    train(tiny.config(work_dir), resume=True)
    assert "it is now run.damaged.json" in capfd.readouterr().err
    assert (work_dir / "run.damaged.json").read_bytes() == damaged


def test_the_command_test_refuses_a_damaged_checkpoint(work_dir: Path, tmp_path: Path, capsys) -> None:
    """A flipped bit in the weights gives a number that looks like any other."""
    cfg = tiny.config(work_dir)
    cfg.update(test_dataloader=cfg.val_dataloader, test_cfg={}, test_evaluator=cfg.val_evaluator)
    assert evaluate(cfg, work_dir / "iter_4.pth")
    flip_weights(work_dir / "iter_4.pth")
    cfg.dump(tmp_path / "config.py")
    assert main(["test", str(tmp_path / "config.py"), str(work_dir / "iter_4.pth")]) == 2
    told = capsys.readouterr().err
    assert re.search(
        r"iter_4\.pth: the checkpoint is damaged \(got .*data.* is not as its checksum says\) -> restore it", told
    )
    assert told.count("kdhub: error") == 1
    assert "Traceback" not in told


def test_a_damaged_checkpoint_is_replaced_by_the_one_before_it(work_dir: Path) -> None:
    """Mmengine's runs go on too; what lies ahead of the newest one is another run's."""
    flip_weights(work_dir / "iter_6.pth")
    shutil.copy(work_dir / "iter_4.pth", work_dir / "iter_12.pth")
    name, (warning,) = chosen(work_dir)
    assert name == "iter_4.pth"
    assert re.search(r"iter_6\.pth is damaged \(.*data.* not as its checksum says\); using iter_4\.pth", warning)
    with pytest.raises(UsageError, match="the checkpoint is damaged"):
        train(tiny.config(work_dir), resume=work_dir / "iter_6.pth")


def test_a_pointer_to_nothing_is_replaced_by_the_names(work_dir: Path) -> None:
    """Beside three whole checkpoints "start without --resume" would have them overwritten."""
    truncate(work_dir / "last_checkpoint")
    shutil.copy(work_dir / "iter_6.pth", work_dir / "best_tiny_accuracy_iter_6.pth")
    shutil.copy(work_dir / "iter_4.pth", work_dir / "interrupted.pth")
    assert [path.name for path in saved_checkpoints(work_dir)] == [
        "interrupted.pth",
        "iter_6.pth",
        "iter_4.pth",
        "iter_2.pth",
    ]
    truncate(work_dir / "interrupted.pth")
    name, warnings = chosen(work_dir)
    assert name == "iter_6.pth"
    assert [line.split()[0] for line in warnings] == ["last_checkpoint", "interrupted.pth"]


@pytest.mark.parametrize("content", [b"", b"PK\x03", b"garbage"])
def test_a_file_that_is_no_checkpoint_is_damaged(work_dir: Path, content: bytes) -> None:
    """What does not even begin as a zip has no checksums to compare: that said nothing against it."""
    (work_dir / "iter_6.pth").write_bytes(content)
    assert chosen(work_dir)[0] == "iter_4.pth"
    assert "iter_6.pth is damaged (" in chosen(work_dir)[1][0]


def test_one_flipped_bit_in_the_first_bytes_is_damage(work_dir: Path) -> None:
    """It makes a file of another format of it, about which nothing is known."""
    for position in range(4):
        content = (work_dir / "iter_6.pth").read_bytes()
        flip(work_dir / "iter_6.pth", position)
        assert chosen(work_dir)[0] == "iter_4.pth"
        (work_dir / "iter_6.pth").write_bytes(content)


def test_an_evaluation_that_is_repeated_is_recorded_once(work_dir: Path) -> None:
    """The last checkpoint is older than the last evaluation: a run that was killed in its report showed that one twice."""
    train(tiny.config(work_dir, default_hooks=SAVING), resume=True)
    evaluations = json.loads((work_dir / "run.json").read_text())["evaluations"]
    assert [one["iteration"] for one in evaluations] == [3, 6]


def test_a_run_that_starts_over_forgets_the_former_checkpoints(work_dir: Path) -> None:
    """If it is killed early, --resume would go on from the run that it replaced, or have those that are left overwritten."""
    hooks = {"checkpoint": None, "export_student": None}
    train(tiny.config(work_dir, default_hooks=hooks))
    named = r"nothing to resume that the last run .* a former one's: iter_6\.pth, iter_4\.pth, iter_2\.pth\)"
    with pytest.raises(
        UsageError, match=rf"{named} -> to go on from one of them: --resume {work_dir}/iter_6\.pth; a start"
    ):
        chosen(work_dir)


def test_what_a_killed_run_left_half_written_is_removed(work_dir: Path) -> None:
    """Nobody knows what ``.iter_4.pth.partial`` is, and each killed write leaves one, of a checkpoint's size."""
    (work_dir / ".iter_4.pth.partial").write_bytes(b"half")
    (work_dir / ".student.partial").mkdir()
    (work_dir / ".student.partial" / "model").write_bytes(b"half")
    with folder_lock(work_dir), pytest.raises(UsageError, match="another run"):
        train(tiny.config(work_dir, default_hooks=SAVING), resume=True)
    assert len(list(work_dir.glob(".*.partial"))) == 2
    train(tiny.config(work_dir, default_hooks=SAVING), resume=True)
    assert not list(work_dir.glob(".*.partial"))


def test_a_run_that_goes_on_from_an_earlier_checkpoint_forgets_the_later_ones(work_dir: Path) -> None:
    """Killed again, it would jump to the branch that its user left."""
    train(tiny.config(work_dir, default_hooks={"checkpoint": None}), resume=work_dir / "iter_2.pth")
    assert chosen(work_dir) == ("iter_2.pth", [])


def test_a_copied_work_dir_is_resumed_from_its_own_checkpoint(work_dir: Path, tmp_path: Path) -> None:
    """The pointer holds an absolute path: a copy took the original's checkpoint, which may be another run's by now."""
    copy = Path(shutil.copytree(work_dir, tmp_path / "other"))
    assert checkpoint_to_resume(copy, True)[0] == copy / "iter_6.pth"


def test_a_copy_without_its_newest_checkpoint_leaves_the_original_alone(work_dir: Path, tmp_path: Path) -> None:
    """The pointer's absolute path took the original's, which the copy was perhaps made to go another way than."""
    copy = Path(shutil.copytree(work_dir, tmp_path / "other"))
    (copy / "iter_6.pth").unlink()
    path, (warning,) = checkpoint_to_resume(copy, True)
    assert path == copy / "iter_4.pth"
    assert "last_checkpoint names no checkpoint" in warning


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("branch", [False, True])
def test_a_copied_run_removes_none_of_the_originals_files(tmp_path: Path, several: bool, branch: bool) -> None:
    """The best student of the original was deleted when the copy, or a run from its checkpoint, found a better one."""
    keys = ["tiny/accuracy", "tiny/steps"] if several else "tiny/steps"
    hooks = {"checkpoint": {"interval": 1, "by_epoch": False, "save_best": keys, "rule": "greater"}}
    changes = {"val_evaluator": {"type": "TinyProgress"}, "default_hooks": hooks}
    train(
        tiny.config(tmp_path / "original", train_cfg={"max_iters": 3, "by_epoch": False, "val_interval": 1}, **changes)
    )
    before = {path: path.read_bytes() for path in (tmp_path / "original").glob("*.pth")}
    other = tmp_path / "other"
    if not branch:
        shutil.copytree(tmp_path / "original", other)
    train(tiny.config(other, **changes), resume=tmp_path / "original" / "iter_3.pth" if branch else True)
    assert {path: path.read_bytes() for path in (tmp_path / "original").glob("*.pth")} == before
    assert [path.name for path in other.glob("best_tiny_steps*")] == ["best_tiny_steps_iter_6.pth"]
    hub = read_checkpoint(other / "iter_6.pth")["message_hub"]["runtime_info"]
    assert {Path(hub[key]).parent for key in hub if "_ckpt" in key and "keep" not in key} <= {other}


@pytest.mark.parametrize("former", [False, True])
def test_a_run_that_began_with_anothers_checkpoint_stays_on_its_branch(
    work_dir: Path, tmp_path: Path, former: bool
) -> None:
    """Killed before it saved, it went on from the other run's newest checkpoint, or from its own former one of that name."""
    branch = tmp_path / "branch"
    if former:
        train(tiny.config(branch, default_hooks=SAVING))
    train(tiny.config(branch, default_hooks={"checkpoint": None}), resume=work_dir / "iter_4.pth")
    assert checkpoint_to_resume(branch, True) == (work_dir / "iter_4.pth", [])
    assert latest_checkpoint(branch) == work_dir / "iter_4.pth"
    flip(work_dir / "iter_4.pth")
    path, (warning,) = checkpoint_to_resume(branch, True)
    assert path == work_dir / "iter_2.pth"
    assert "iter_4.pth is damaged" in warning


def test_a_file_without_its_checksum_is_damaged(tmp_path: Path) -> None:
    """A flipped byte in the name of the checksum must not switch the check off."""
    (tmp_path / "bare.json").write_text('{"status": "finished"}')
    with pytest.raises(DamagedFileError, match="no checksum"):
        read_sealed(tmp_path / "bare.json")


def test_a_sealed_file_comes_back(tmp_path: Path) -> None:
    """Numbers that JSON lacks, keys that are no text and other alphabets must not look like damage."""
    write_sealed(tmp_path / "new.json", {"loss": float("nan"), "text": "größe", 1: [0.1, None]})
    assert read_sealed(tmp_path / "new.json") == {"loss": "nan", "text": "größe", "1": [0.1, None]}


def test_checkpoints_of_another_name_follow_each_other_too(tmp_path: Path) -> None:
    """With `filename_tmpl` a damaged checkpoint was the end of the run, beside whole ones before it."""
    saving = {"checkpoint": {"interval": 2, "by_epoch": False, "filename_tmpl": "saved-{}.pth"}}
    train(tiny.config(tmp_path, default_hooks=saving))
    truncate(tmp_path / "saved-6.pth")
    shutil.copy(tmp_path / "saved-4.pth", tmp_path / "other-5.pth")
    assert chosen(tmp_path)[0] == "saved-4.pth"
