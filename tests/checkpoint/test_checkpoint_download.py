"""Weights by URL where several processes want them: one downloads for each disk, and a failure stops all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from kdhub.checkpoint import agreement, download
from kdhub.errors import ToldElsewhereError, UsageError

URL = "http://host/weights.pth"


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where this process wrote to, in a cache of its own."""
    files: list[str] = []

    def fetch(url: str, file: str, progress: bool) -> None:
        files.append(Path(file).name)
        Path(file).write_bytes(b"weights")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    return files


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str | None]]:
    """Be one process of two; what the other one met is given for each time they meet."""

    def be(*, main: bool, local_rank: int, other: tuple[str | None, ...] = (None, None)) -> list[str | None]:
        met: list[str | None] = []
        words = iter(other)

        def gathered(mine: str | None) -> list[str | None]:
            met.append(mine)
            return [mine, next(words)] if main else [next(words), mine]

        monkeypatch.setenv("LOCAL_RANK", str(local_rank))
        for module in (agreement, download):
            monkeypatch.setattr(module, "is_main_process", lambda: main)
        monkeypatch.setattr(agreement, "all_gather_object", gathered)
        return met

    return be


def test_one_process_downloads_for_its_disk(fetched, process):
    """Eight processes that write one file of two gigabytes take eight times as long."""
    process(main=True, local_rank=0)
    assert download.local_file(URL).read_bytes() == b"weights"
    process(main=False, local_rank=1)
    assert download.local_file(URL).read_bytes() == b"weights"
    process(main=False, local_rank=0)  # the first process of another machine, with the same disk
    download.local_file(URL)
    assert fetched == ["weights.pth"]


def test_a_machine_with_a_disk_of_its_own_downloads_too(fetched, process):
    """Only the main process did: on every other machine there was no such checkpoint."""
    process(main=False, local_rank=0)
    assert download.local_file(URL).is_file()
    assert fetched == ["weights.pth"]


def test_a_failure_is_known_to_all_before_anybody_stops(fetched, process, monkeypatch):
    """The main process raised ahead of the barrier, where the others waited until a timeout of half an hour."""

    def refuse(url: str, file: str, progress: bool) -> None:
        raise URLError("refused")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    met = process(main=True, local_rank=0)
    with pytest.raises(UsageError, match="cannot download"):
        download.local_file(URL)
    assert len(met) == 1
    assert "cannot download" in str(met[0])


def test_the_others_stop_with_the_main_process(fetched, process):
    """A process that goes on alone waits in the next collective."""
    process(main=False, local_rank=1, other=("cannot download the checkpoint",))
    with pytest.raises(ToldElsewhereError, match="cannot download"):
        download.local_file(URL)
    assert fetched == []
