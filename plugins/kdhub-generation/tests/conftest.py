"""Each test begins with the same random numbers, and with plugins loaded."""

import pytest
import torch

from kdhub.registry import init


@pytest.fixture(autouse=True)
def _ready():
    init()
    torch.manual_seed(0)
