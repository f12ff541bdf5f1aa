"""The check of mmseg's own configs, which train as they are: what it says of them is true."""

import random
from pathlib import Path

import mmseg
import pytest

import kdhub
from kdhub.config import check_config, load_config

FOLDER = Path(mmseg.__file__).parent / ".mim" / "configs"
ALL = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.py") if "_base_" not in path.parts)
ODD = (
    "vpd/vpd_sd_4xb8-25k_nyu-512x512.py",  # a scheduler of mmseg says int and means a fraction
    "stdc/stdc1_4xb12-80k_cityscapes-512x1024.py",  # a head of two classes, which makes labels of its own
)
SAMPLE = sorted({*random.Random(0).sample(ALL, 24), *ODD}) if ALL else []
TRUE = (
    "is not installed",  # mmdet, mmpretrain
    "compiled operators",
    "needs mmdet",
    "wants either size or size_divisor",  # mmseg's own mistake: its preprocessor refuses it in training
    "unknown key 'models'",  # mmseg's own slip
)
"""Errors that are right about a config of mmseg, on a machine without the packages that it needs."""

KNOWN = ("loss_scale", "eta_min_ratio")
"""Keys whose annotations are wrong, in mmengine and in mmseg: warned of, no more."""


@pytest.mark.skipif(not ALL, reason="mmseg is installed without its configs")
@pytest.mark.parametrize("name", SAMPLE)
def test_a_config_of_mmseg_has_no_false_error(name):
    """A check that refuses what trains is switched off; of mmseg's 682 configs, which take minutes, here is a sample."""
    report = check_config(load_config(f"mmseg::{name}", custom_imports=False), kdhub.init())
    false = [one.line() for one in report.errors if not any(words in one.line() for words in TRUE)]
    assert false == []
    assert [
        one.line() for one in report.warnings if "another type" in one.message and not one.path.endswith(KNOWN)
    ] == []
