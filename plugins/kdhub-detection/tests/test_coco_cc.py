"""The prepared COCO archives: unpacked, counted, refused if they are others."""

import json

import pytest

from kddet.data import coco_cc_files
from kddet.data.coco_names import BASE, NOVEL
from kdhub.api import UsageError


@pytest.mark.shared
def test_they_become_what_mmdet_reads(shared_data, tmp_path):
    """The counts and the split are what results are compared by."""
    coco_cc_files.convert(shared_data / "coco_cc", tmp_path)
    assert coco_cc_files.is_ready(tmp_path)
    said = coco_cc_files.describe(tmp_path)
    assert said == "530 train images with 4449 boxes, 184 val images with 1481 boxes"
    content = json.loads((tmp_path / "train/instances.json").read_text())
    assert (tmp_path / "train" / content["images"][0]["file_name"]).is_file()
    assert (tuple(content["ovd_split"]["base"]), tuple(content["ovd_split"]["novel"])) == (BASE, NOVEL)


def test_other_files_are_refused(tmp_path):
    """An archive that was cut off, or of another year, gives other numbers under the same name."""
    with pytest.raises(UsageError, match=r"no such archive.*train\.zip"):
        coco_cc_files.convert(tmp_path, tmp_path / "to")
    (tmp_path / "train.zip").write_bytes(b"no archive")
    with pytest.raises(UsageError, match="not the archive that is known"):
        coco_cc_files.convert(tmp_path, tmp_path / "to")
    assert not coco_cc_files.is_ready(tmp_path)
