"""The docstring corpus: what is a pair, what is left out, and that no module is in two splits."""

import ast
import json
import textwrap
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from kdhub.errors import UsageError
from kdret.data import docstrings
from kdret.data.beir import load_split
from kdret.data.extract import docstrings as extract
from kdret.data.sources import in_fixed_order, installed_distributions, standard_library

SOURCE = '''
"""Read and write tables. They are kept in files of text."""

def reader(path, *, delimiter=","):
    """Read a table from a file. Returns one list for each row.

    Args:
        path: Where it is.
    """

class Table:
    """Rows and columns in memory, as read from a file

    A table knows :class:`~tables.Row` objects only.
    """

    def sort(self, key):
        """Sort rows, e.g. by name (in place)."""

    def _hidden(self):
        """Not public and so not in the corpus at all."""

def undocumented(): ...
'''


@pytest.fixture
def module(tmp_path):
    path = tmp_path / "tables.py"
    path.write_text(SOURCE)
    return path


def test_pairs_of_a_module(module):
    """Query and document must not share the sentence: a search that finds it word by word teaches nothing."""
    found = {entry.name: entry for entry in extract(module, "tables", Counter())}
    assert list(found) == ["tables", "tables.reader", "tables.Table", "tables.Table.sort"]
    assert found["tables"].sentence == "Read and write tables"
    assert found["tables"].rest == "They are kept in files of text."
    assert found["tables.reader"].signature == "def reader(path, delimiter)"
    assert found["tables.reader"].rest == "Returns one list for each row. Args: path: Where it is."
    assert found["tables.Table"].rest == "A table knows tables.Row objects only."
    assert found["tables.Table.sort"].sentence == "Sort rows, e.g. by name (in place)"
    assert found["tables.Table.sort"].signature == "def sort(key)"


@given(text=st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=200))
@settings(deadline=None, max_examples=50)
def test_any_docstring_is_split_without_loss_of_words(text, tmp_path_factory):
    """Odd docstrings of other people's packages must not end the build, nor lose text."""
    path = tmp_path_factory.mktemp("odd") / "odd.py"
    path.write_text(f"{text!r}\n", encoding="utf-8")
    clean = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    for entry in extract(path, "odd", Counter()):
        if ":" not in clean:  # roles are rewritten
            words = f"{entry.sentence} {entry.rest}".replace(".", " ").split()
            assert words == clean.replace(".", " ").split()


@pytest.mark.parametrize("content", [b"def broken(:\n", b"\xff\xfe\x00", b"x = '\x00'\n"])
def test_an_unreadable_file_is_left_out(tmp_path, content):
    """Packages ship templates and code for other versions of Python."""
    (tmp_path / "bad.py").write_bytes(content)
    dropped = Counter()
    assert list(extract(tmp_path / "bad.py", "bad", dropped)) == []
    assert dropped == {"file that this Python cannot parse": 1}


def test_half_a_surrogate_pair_is_left_out_and_counted(tmp_path, monkeypatch):
    """Tests of text libraries hold such docstrings; writing one as UTF-8 ended `kdhub demo` in a traceback."""
    (tmp_path / "email.py").write_text('"""Read \\ud800 as a text.\n\nThis part is long enough to be a document."""\n')
    monkeypatch.setattr(docstrings, "standard_library", lambda: {"email": [tmp_path / "email.py"]})
    manifest = docstrings.build(tmp_path / "corpus", installed=False)
    assert manifest["dropped"] == {"half of a surrogate pair": 1}
    with pytest.raises(UsageError, match="bad per_module"):
        docstrings.build(tmp_path / "corpus", per_module=0)


def test_split_is_fixed_and_ignores_underscores():
    """A module that moves between splits when something is installed would leak test data into training."""
    assert docstrings.split_of("json") == docstrings.split_of("stdlib/json") == docstrings.split_of("_json")
    assert {name: docstrings.split_of(name) for name in ("email", "json", "shelve")} == {
        "email": "train",
        "shelve": "val",
        "json": "test",
    }
    assert sum(docstrings.SPLITS.values()) == 100


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A corpus of three made-up modules that would fall into three splits."""
    body = '''
        def one(path):
            """{0} the first thing of its kind.

            This part is long enough to be a document, {0}.
            """

        def short(path):
            """{0} something without any explanation."""

        def boilerplate(path):
            """Return a copy of the object.

            This part is long enough too and differs, {0}.
            """
    '''
    files = {}
    names = {"train": "email", "val": "shelve", "test": "json"}
    for split, name in names.items():
        assert docstrings.split_of(name) == split
        path = tmp_path / f"{name}.py"
        path.write_text(textwrap.dedent(body.format(name.title())))
        files[name] = [path]
    monkeypatch.setattr(docstrings, "standard_library", lambda: files)
    manifest = docstrings.build(tmp_path / "corpus", installed=False)
    return tmp_path / "corpus", manifest


def test_build_writes_splits_that_load(built):
    """The corpus is data like any other: strict reading must accept it."""
    folder, manifest = built
    assert manifest["documents"] == {"train": 1, "val": 1, "test": 1}
    for split, name in (("train", "email"), ("val", "shelve"), ("test", "json")):
        data = load_split(folder, split)
        assert list(data.queries) == [f"{name}.one"] == [data.corpus.at(row).id for row in data.judged()]
    assert manifest["dropped"] == {"fewer than 5 words besides the sentence": 3, "sentence occurs more than once": 3}
    assert json.loads((folder / "manifest.json").read_text())["sha256"].keys() >= {"corpus.jsonl.gz"}


def test_build_replaces_as_a_whole(built):
    """A half-written corpus beside an old one would be read as one."""
    folder, manifest = built
    (folder / "left-over").write_text("")
    again = docstrings.build(folder, installed=False)
    assert again["sha256"] == manifest["sha256"]
    assert not (folder / "left-over").exists()
    assert not list(folder.parent.glob(".corpus*"))


def test_a_folder_that_cannot_be_written_is_one_line(built):
    """A demo started in a read-only folder must not end in a traceback."""
    folder, _ = built
    (folder.parent / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        docstrings.build(folder.parent / "file/docstrings", installed=False)


def test_order_of_files_does_not_depend_on_the_machine(tmp_path):
    """A capped package must give the same sample wherever it is installed."""
    one = [tmp_path / "a/pkg" / name for name in ("x.py", "y.py", "z.py")]
    two = [tmp_path / "b/c/pkg" / name for name in ("z.py", "x.py", "y.py")]
    assert [p.name for p in in_fixed_order(one, "pkg")] == [p.name for p in in_fixed_order(two, "pkg")]


def test_sources_of_this_machine():
    """The standard library's modules and an installed package are found, and tests of packages are not."""
    assert standard_library()["json"]
    packages, versions = installed_distributions()
    assert any(path.name == "_manager.py" for path in packages["pluggy"])
    assert "pluggy" in versions
    assert not any("tests" in path.parts for paths in packages.values() for path in paths)
