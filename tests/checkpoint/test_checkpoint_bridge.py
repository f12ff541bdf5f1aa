"""mmengine's own loading goes through the safe reader while kdhub runs, and only then."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.runner import CheckpointLoader
from torch import nn

from kdhub.checkpoint import load_weights, safe_loading
from kdhub.errors import UsageError


class _Touches:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (open, (str(self.path), "w"))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Serve ``tmp_path`` over HTTP and give the address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_mmengine_unpickles_nothing_within(tmp_path: Path) -> None:
    """Without kdhub mmengine falls back to unpickling, so a pretrained backbone could run code in a kdhub run."""
    target = tmp_path / "owned"
    torch.save({"state_dict": {}, "meta": _Touches(target)}, tmp_path / "evil.pth")
    with safe_loading(), pytest.raises(UsageError):
        CheckpointLoader.load_checkpoint(str(tmp_path / "evil.pth"))
    assert not target.exists()


def test_mmengine_is_itself_again_afterwards() -> None:
    """Another mmengine program in the process keeps its own loading, also after an error."""
    before = dict(CheckpointLoader._schemes)

    def fail_within() -> None:
        with safe_loading():
            assert dict(CheckpointLoader._schemes) != before
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_within()
    assert dict(CheckpointLoader._schemes) == before


def test_every_scheme_of_mmengine_is_answered() -> None:
    """A scheme that is forgotten unpickles."""
    known = set(CheckpointLoader._schemes)
    with safe_loading():
        assert known <= set(CheckpointLoader._schemes)
        assert all(loader.__module__.startswith("kdhub.") for loader in CheckpointLoader._schemes.values())


def test_a_url_is_downloaded_and_read_safely(tmp_path: Path, served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights by URL are the commonest way to get a backbone, and came through torch's unlimited reader."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    target = tmp_path / "owned"
    torch.save({"meta": _Touches(target)}, tmp_path / "evil.pth")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "good.pth")
    with safe_loading():
        assert set(CheckpointLoader.load_checkpoint(f"{served}/good.pth")) == {"weight", "bias"}
        with pytest.raises(UsageError):
            CheckpointLoader.load_checkpoint(f"{served}/evil.pth")
        with pytest.raises(UsageError, match="cannot download"):
            CheckpointLoader.load_checkpoint(f"{served}/absent.pth")
    model = nn.Linear(2, 2)
    load_weights(model, f"{served}/good.pth")
    assert model.weight.equal(torch.load(tmp_path / "good.pth", weights_only=True)["weight"])
    assert not target.exists()


def test_zoos_and_stores(tmp_path: Path) -> None:
    """A wrong model name was a bare KeyError, and a cluster store is unpickled by mmengine."""
    with safe_loading():
        with pytest.raises(UsageError, match="did you mean 'resnet50_v1c'"):
            CheckpointLoader.load_checkpoint("open-mmlab://resnet50_v1x")
        with pytest.raises(UsageError, match="copy the file"):
            CheckpointLoader.load_checkpoint("s3://bucket/a.pth")
