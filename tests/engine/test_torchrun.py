"""Two real processes on the CPU, started by torchrun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch

from kdhub.checkpoint import read_checkpoint
from kdhub.engine.train import train
from kdhub.errors import UsageError

_SCRIPT = """
import os, pathlib, sys
sys.path.insert(0, {tests!r})
import tiny, torch
from kdhub.engine.hooks.interrupt import Interrupted
from kdhub.engine import train as training
from kdhub.engine.runner import KdhubRunner

class Remembering(KdhubRunner):
    def train(self):
        super().train()
        torch.save(self.model.module.state_dict(), {folder!r} + f"/rank{{self.rank}}.pth")

training.KdhubRunner = Remembering
cfg = tiny.config({folder!r} + "/run", model=tiny.distiller())
cfg.train_cfg.max_iters = {iterations}
cfg.train_cfg.val_interval = {val_interval}
cfg.default_hooks = dict(progress=dict(interval=0.0))
status = 0
try:
    training.train(cfg, launcher="pytorch", amp={amp})
except Interrupted as error:
    print(error)
    status = 2
# a thread of the group that runs when Python ends needs the interpreter, and aborts the process now and then
alive = [path.read_text() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
assert not any("gloo" in name for name in alive), alive
sys.exit(status)
"""


def torchrun(folder: Path, iterations: int = 6, val_interval: int = 3, amp: bool = False) -> subprocess.Popen[str]:
    """Start the script in two processes."""
    script = folder / "script.py"
    tests = str(Path(__file__).parent)
    script.write_text(
        _SCRIPT.format(tests=tests, folder=str(folder), iterations=iterations, val_interval=val_interval, amp=amp)
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_two_processes_end_with_equal_weights(tmp_path: Path) -> None:
    """Mmengine selects a CUDA device for every launcher; and processes that do not exchange gradients drift apart."""
    process = torchrun(tmp_path, amp=True)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    ranks = [torch.load(tmp_path / f"rank{rank}.pth", weights_only=True) for rank in (0, 1)]
    assert all(torch.equal(tensor, ranks[1][name]) for name, tensor in ranks[0].items())
    saved = read_checkpoint(tmp_path / "run" / "iter_6.pth")["state_dict"]
    assert all(torch.equal(tensor, ranks[0][name]) for name, tensor in saved.items())
    # each process sees other samples: one process alone must learn something else
    train(tiny.config(tmp_path / "alone", model=tiny.distiller()), amp=True)
    alone = read_checkpoint(tmp_path / "alone" / "iter_6.pth")["state_dict"]
    assert not torch.equal(alone["student.body.weight"], ranks[0]["student.body.weight"])
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["status"] == "finished"
    assert run["machine"]["processes"] == 2
    assert len(run["sessions"]) == 1
    assert err.count("evaluation at iteration 3") == 1


def test_ctrl_c_stops_both_at_the_same_iteration(tmp_path: Path) -> None:
    """If one process stops an iteration before the other, the other waits for its gradients until a timeout."""
    process = torchrun(tmp_path, iterations=10**6, val_interval=10**6)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("training"):
            break
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert "interrupted.pth" in out, err
    assert (tmp_path / "run" / "interrupted.pth").is_file()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"


@pytest.mark.filterwarnings("ignore:`broadcast_buffers` is deprecated:FutureWarning")  # mmengine's own argument
@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU it stays synchronised")
def test_synchronised_batch_norm_trains_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch refuses SyncBatchNorm in a process group on the CPU, and nearly every config of mmseg has it."""
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = tiny.distiller()
        model["student"]["sync_norm"] = model["teacher"]["model"]["sync_norm"] = True
        train(tiny.config(tmp_path / "run", model=model), launcher="pytorch")
    finally:
        torch.distributed.destroy_process_group()
    assert "SyncBatchNorm became BatchNorm" in next((tmp_path / "run").glob("*/*.log")).read_text()
    weights = read_checkpoint(tmp_path / "run" / "iter_6.pth")["state_dict"]
    assert weights["student.norm.num_batches_tracked"] == 6


def test_launcher_without_torchrun(tmp_path: Path) -> None:
    """The bare KeyError 'RANK' tells nobody what to type."""
    with pytest.raises(UsageError, match=r"not started by torchrun.*torchrun --standalone"):
        train(tiny.config(tmp_path), launcher="pytorch")
