"""`local_file`: weights named by URL, kept in torch's cache."""

from __future__ import annotations

import os
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse

import torch
from mmengine.dist import is_main_process

from kdhub.checkpoint.agreement import agreed
from kdhub.errors import UsageError


def local_file(source: str | Path) -> Path:
    """Return where a file is on disk; one that is named by URL is downloaded first, unless it is there.

    The main process downloads for all that share its disk; on any other machine the first process does. All processes call
    this together.

    Args:
        source: A path, or an ``http(s)://`` URL.

    Raises:
        UsageError: In every process, if any of them cannot have it; says where to put it by hand.
    """
    url = str(source)
    if not url.startswith(("http://", "https://")):
        return Path(source).expanduser()
    file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)
    agreed(lambda: _download(url, file, is_main_process()))
    agreed(lambda: _download(url, file, os.environ.get("LOCAL_RANK", "0") == "0"))
    return file


def _download(url: str, file: Path, here: bool) -> None:
    if not here or file.is_file():
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), progress=False)
    except (URLError, OSError, HTTPException, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        raise UsageError(
            "cannot download the checkpoint", where=url, got=str(error), fix=f"put it at {file}"
        ) from error
