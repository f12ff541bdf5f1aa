"""Where data named in a config are looked for."""

from pathlib import Path

from kdhub.files import data_places


def test_the_folder_of_the_variable_takes_the_place_of_data(monkeypatch):
    """A plugin that looks elsewhere than the others makes users copy their data."""
    monkeypatch.delenv("KDHUB_DATA", raising=False)
    assert data_places("data/cranfield") == [Path("data/cranfield")]
    monkeypatch.setenv("KDHUB_DATA", "/sets")
    assert data_places("data/cranfield") == [Path("data/cranfield"), Path("/sets/cranfield")]
    assert data_places(Path("mine/x.zip")) == [Path("mine/x.zip"), Path("/sets/mine/x.zip")]
    assert data_places("/data/cranfield") == [Path("/data/cranfield")]
