"""`tools/under_fire.py`: each of its faults once. What it plays a hundred times is played by hand, see the benchmarks' page."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools/under_fire.py"


@pytest.mark.timeout(620)
@pytest.mark.parametrize(("kind", "least"), [("training", 9), ("store", 9), ("roles", 2)])
def test_every_fault_is_recovered_from(tmp_path: Path, kind: str, least: int) -> None:
    """With real processes, disks and signals: whoever recovers wrongly here does so for users, some day."""
    played = subprocess.run(
        [sys.executable, str(TOOL), "--of", kind, "--seed", "8", "--json", "--keep", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert played.returncode == 0, played.stderr
    tally = json.loads(played.stdout)["tally"]
    assert len(tally) >= least
    for name, counts in tally.items():
        if f"{name} cannot be played here" not in played.stderr:  # without the right to mount a small disk
            assert counts == {"times": 1, "recovered": 1, "exact": 1}, name
