"""`local_file`: weights named by URL, kept in torch's cache."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, is_main_process

from kdhub.errors import UsageError


def local_file(source: str | Path) -> Path:
    """Return where a file is on disk; one that is named by URL is downloaded first, by the main process, unless it is there.

    Args:
        source: A path, or an ``http(s)://`` URL.

    Raises:
        UsageError: If it cannot be downloaded; says where to put it by hand.
    """
    url = str(source)
    if not url.startswith(("http://", "https://")):
        return Path(source).expanduser()
    folder = Path(torch.hub.get_dir(), "checkpoints")
    file = folder / Path(urlparse(url).path).name
    if is_main_process() and not file.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(file), progress=False)
        except (URLError, OSError) as error:
            raise UsageError(
                "cannot download the checkpoint", where=url, got=str(error), fix=f"put it at {file}"
            ) from error
    barrier()
    return file
