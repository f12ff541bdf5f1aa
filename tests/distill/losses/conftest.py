"""Golden values of losses, read from data files that say where each number comes from."""

import json
from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).parents[1] / "golden"


def pytest_generate_tests(metafunc):
    if "golden_case" in metafunc.fixturenames:
        name = metafunc.module.__name__.rpartition("test_")[2]
        cases = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))["cases"]
        metafunc.parametrize("golden_case", cases, ids=lambda case: case["name"])


@pytest.fixture
def golden(golden_case):
    """One case as (arguments, inputs, expected)."""
    inputs = {name: torch.tensor(golden_case[name], dtype=torch.float32) for name in ("student", "teacher")}
    if "mask" in golden_case:
        inputs["mask"] = torch.tensor(golden_case["mask"])
    return golden_case["arguments"], inputs, golden_case["expected"]
