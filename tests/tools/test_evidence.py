"""`tools/evidence.py`: the intervals that the documentation quotes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools/evidence.py"


def finished(folder, seed, score):
    """Leave what a finished run leaves, as far as the tool reads it."""
    run = folder / f"seed{seed}"
    run.mkdir(parents=True)
    card = {
        "status": "finished",
        "evaluations": [{"metrics": {"mIoU": score}}],
        "baselines": {"student": {"mIoU": 1.0}},
    }
    (run / "run.json").write_text(json.dumps(card))


def evidence(work_dir, *arguments):
    command = [sys.executable, TOOL, "alone=a.py", "ours=b.py", "--metric", "mIoU", "--work-dir", work_dir, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_gain_is_compared_seed_by_seed(tmp_path, jobs):
    """Intervals of two means would hide a gain that every single seed shows; a finished run must not be repeated."""
    for seed, (alone, ours) in enumerate([(10.0, 12.0), (20.0, 22.5), (30.0, 33.0)]):
        finished(tmp_path / "alone", seed, alone)
        finished(tmp_path / "ours", seed, ours)
    found = json.loads(evidence(tmp_path, "--json", "--jobs", jobs))["metrics"]["mIoU"]
    assert found["variants"]["alone"]["mean"] == 20.0
    gain = found["gains"]["ours - alone"]
    assert gain["mean"] == 2.5
    # Student's t with 2 degrees of freedom, 0.975: 4.302653; deviation of 2, 2.5, 3: 0.5
    assert gain["half_width_95"] == pytest.approx(4.302653 * 0.5 / 3**0.5, rel=1e-6)
    assert "| ours - alone | 2.5000 | ± 1.2421 |" in evidence(tmp_path)
