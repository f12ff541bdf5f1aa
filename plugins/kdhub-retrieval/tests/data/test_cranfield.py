"""The Cranfield converter, on a made-up collection in the original's form, and tools/prepare_data.py around it."""

import importlib.util
import zipfile
from pathlib import Path

import pytest

from kdhub.errors import UsageError
from kdret.data import cranfield
from kdret.data.beir import load_split

TOOL = Path(__file__).resolve().parents[4] / "tools/prepare_data.py"


@pytest.fixture
def original(tmp_path):
    """1,400 documents, 225 queries, query i judges document i as relevant and document i + 1 as not."""
    folder = tmp_path / "cranfield-trec-dataset-main"
    folder.mkdir()
    documents = [
        f"<doc>\n<docno>\n{i}\n</docno>\n<title>\nflow {i}\n</title>\n<author>\nx\n</author>\n<text>\npast a &lt;plate\n</text>\n</doc>\n"
        for i in range(1, 1401)
    ]
    (folder / "cran.all.1400.xml").write_text("".join(documents))
    queries = [f"<top>\n<num> {1000 + i}</num><title>\nwhat is flow {i} .\n</title>\n</top>\n" for i in range(1, 226)]
    (folder / "cran.qry.xml").write_text("".join(queries))
    (folder / "cranqrel.trec.txt").write_text("".join(f"{i} 0 {i} 1\n{i} 0 {i + 1} -1\n" for i in range(1, 226)))
    return folder


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("prepare_data", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_convert(original, tmp_path):
    """Judgements number queries by place: taking <num> for it would pair every query with wrong documents."""
    (tmp_path / "out").mkdir()
    cranfield.convert(original, tmp_path / "out")
    train, dev = (load_split(tmp_path / "out", split) for split in ("train", "dev"))
    assert (len(train.queries), len(dev.queries)) == (120, 45)
    assert not train.queries.keys() & dev.queries.keys()
    assert dev.queries["14"] == "what is flow 14 ."
    assert dev.qrels["14"] == {"14": 1}
    assert dev.corpus["14"].content == "flow 14 past a <plate"


@pytest.mark.shared
def test_splits_are_those_of_the_prepared_collection(shared_data):
    """A user elsewhere must train and measure on the same queries."""
    for split, members in cranfield.SPLITS.items():
        assert sorted(map(int, load_split(shared_data / "cranfield", split).queries)) == list(members)


def test_another_collection_is_refused(original, tmp_path):
    """Half a download has the right form and too few documents."""
    whole = (original / "cran.all.1400.xml").read_text()
    (original / "cran.all.1400.xml").write_text(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"expected 1400 documents and 225 queries, got 70\d and 225"):
        cranfield.convert(original, tmp_path)
    (original / "cran.qry.xml").unlink()
    with pytest.raises(UsageError, match=r"missing file \(expected cran\.qry\.xml\)"):
        cranfield.convert(original, tmp_path)


def test_tool_takes_the_zip_of_the_original(original, tmp_path, tool, capsys):
    """What GitHub's download button gives."""
    archive = tmp_path / "main.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in original.iterdir():
            file.write(path, f"cranfield-trec-dataset-main/{path.name}")
    target = tmp_path / "data/cranfield"
    assert tool.main(["cranfield", "--source", str(archive), "--folder", str(target)]) == 0
    assert "120 train queries, 45 dev queries" in capsys.readouterr().out
    assert [path.name for path in target.parent.iterdir()] == ["cranfield"]
    assert tool.main(["cranfield", "--source", str(archive), "--folder", str(target)]) == 2
    assert "is there already" in capsys.readouterr().err


@pytest.mark.shared
def test_tool_links_a_prepared_folder(shared_data, tmp_path, tool, monkeypatch):
    """No second copy of what is on the machine."""
    monkeypatch.setenv("KDHUB_DATA", str(shared_data))
    assert tool.main(["cranfield", "--folder", str(tmp_path / "data/cranfield")]) == 0
    assert (tmp_path / "data/cranfield").is_symlink()


@pytest.mark.parametrize(("name", "content", "message"), [("no.zip", None, "no "), ("bad.zip", b"PK", "cannot unpack")])
def test_tool_tells_what_is_wrong_with_a_source(tmp_path, tool, capsys, name, content, message):
    """A wrong source folder must be one line and exit code 2, not a traceback."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert tool.main(["cranfield", "--source", str(tmp_path / name), "--folder", str(tmp_path / "c")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "c").exists()


def test_tool_says_where_the_original_is(tmp_path, tool, capsys, monkeypatch):
    """A user elsewhere has no shared data."""
    monkeypatch.delenv("KDHUB_DATA", raising=False)
    monkeypatch.setattr(tool, "ROOT", tmp_path / "repo")
    assert tool.main(["cranfield", "--folder", str(tmp_path / "c")]) == 2
    assert "https://github.com/oussbenk/cranfield-trec-dataset" in capsys.readouterr().err
