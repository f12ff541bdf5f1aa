"""The check of mmseg's own configs, which train as they are: what it says of them is true."""

import random
from pathlib import Path

import mmseg
import pytest

import kdhub
from kdhub.config import check_config, load_config

FOLDER = Path(mmseg.__file__).parent / ".mim" / "configs"
ALL = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.py") if "_base_" not in path.parts)
WRONG_ANNOTATION = "vpd/vpd_sd_4xb8-25k_nyu-512x512.py"  # a scheduler of mmseg says int and means a fraction
SAMPLE = sorted({*random.Random(0).sample(ALL, 24), WRONG_ANNOTATION}) if ALL else []
TRUE = (
    "is not installed",  # mmdet, mmpretrain
    "compiled operators",
    "needs mmdet",
    "wants either size or size_divisor",  # mmseg's own mistake: its preprocessor refuses it in training
    "has labels that the head has no logit for",  # STDC's boundary head, which makes labels of its own
    "unknown key 'models'",  # mmseg's own slip
)
"""Errors that are right about a config of mmseg, on a machine without the packages that it needs, and one that is known."""

KNOWN = ("loss_scale", "eta_min_ratio")
"""Keys whose annotations are wrong, in mmengine and in mmseg: warned of, no more."""


@pytest.mark.skipif(not ALL, reason="mmseg is installed without its configs")
@pytest.mark.parametrize("name", SAMPLE)
def test_a_config_of_mmseg_has_no_false_error(name):
    """A check that refuses what trains is switched off; in all of mmseg's tree it found no error that was not one."""
    report = check_config(load_config(f"mmseg::{name}", custom_imports=False), kdhub.init())
    false = [one.line() for one in report.errors if not any(words in one.line() for words in TRUE)]
    assert false == []
    assert [
        one.line() for one in report.warnings if "another type" in one.message and not one.path.endswith(KNOWN)
    ] == []
