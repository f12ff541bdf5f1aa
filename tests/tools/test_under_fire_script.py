"""`tools/under_fire.py`, in short: with the faults of trainings in tests/engine/test_faults.py."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools/under_fire.py"


def test_a_store_and_a_training_under_fire(tmp_path: Path) -> None:
    """A store that recovers wrongly from a kill, and a script that nobody can play any more when it is needed."""
    faults = ["killed_while_committing", "killed_in_training"]
    command = [sys.executable, TOOL, "2", "--only", *faults, "--json", "--keep", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tally"] == {name: {"times": 1, "recovered": 1, "exact": 1} for name in faults}
