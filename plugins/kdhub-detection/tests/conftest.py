"""mmdet imported once for all tests, and where the shared data lies."""

import os
import warnings
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import kddet  # noqa: F401 (before mmdet)

with warnings.catch_warnings():
    # an import by its old path, and an evaluator that is not installed; elsewhere warnings are errors
    warnings.simplefilter("ignore", ImportWarning)
    warnings.simplefilter("ignore", UserWarning)
    import mmdet.apis
    import mmdet.models  # noqa: F401


@pytest.fixture
def shared_data():
    """The folder of the project's shared data; the test is skipped where it is not."""
    beside = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    folder = Path(os.environ.get("KDHUB_DATA") or beside)
    if not (folder / "coco_cc").is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI must have the shared data in {folder}")
        pytest.skip(f"no shared data in {folder}; set KDHUB_DATA")
    return folder
