"""mmengine's checkpoint schemes, answered by `read_checkpoint` for as long as kdhub runs.

mmengine unpickles what its limited reader refuses, so a downloaded backbone could run code. Replacing its readers for
the life of the process would change what other programs in it can load; replacing them in a `with` block does not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine.runner import checkpoint as schemes
from mmengine.runner.checkpoint import CheckpointLoader

from kdhub.checkpoint.download import local_file
from kdhub.checkpoint.reading import read_checkpoint
from kdhub.errors import UsageError, near_matches

_MODEL_ZOOS: dict[str, Callable[[], Mapping[str, str]]] = {
    "torchvision://": schemes.get_torchvision_models,
    "modelzoo://": schemes.get_torchvision_models,
    "open-mmlab://": schemes.get_external_models,
    "openmmlab://": schemes.get_external_models,
    "mmcls://": schemes.get_mmcls_models,
}


@contextmanager
def safe_loading() -> Iterator[None]:
    """Make mmengine (``load_from``, ``resume``, ``init_cfg=dict(type='Pretrained')``) read checkpoints safely within.

    Local files, URLs and model zoos behave as in mmengine, short of unpickling. Its cluster stores are refused.
    """
    before = CheckpointLoader._schemes
    CheckpointLoader._schemes = OrderedDict()
    CheckpointLoader.register_scheme(prefixes="", loader=load_from_local)
    CheckpointLoader.register_scheme(prefixes=["http://", "https://"], loader=load_from_url)
    CheckpointLoader.register_scheme(prefixes=list(_MODEL_ZOOS), loader=load_from_zoo)
    CheckpointLoader.register_scheme(
        prefixes=[r"pavi://", r"(\S+\:)?s3://", r"(\S+\:)?petrel://"], loader=load_from_refused
    )
    try:
        yield
    finally:
        CheckpointLoader._schemes = before


def load_from_local(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a local file; the name is what mmengine's log line is made of."""
    return read_checkpoint(filename, map_location=map_location or "cpu")


def load_from_url(url: str, map_location: Any = None) -> dict[str, Any]:
    """Download into torch's cache, unless it is there, and read."""
    return load_from_local(str(local_file(url)), map_location)


def load_from_zoo(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Look a model's name up in mmengine's tables and read it from its URL."""
    zoo, name = filename.split("://", 1)
    urls = _MODEL_ZOOS[f"{zoo}://"]()
    if name not in urls:
        raise UsageError(f"no model {name!r} in {zoo}", where=filename, near=near_matches(name, urls))
    checkpoint = load_from_url(urls[name], map_location)
    return schemes._process_mmcls_checkpoint(checkpoint) if zoo == "mmcls" else checkpoint


def load_from_refused(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Refuse a store whose reader would unpickle."""
    raise UsageError(
        "checkpoints are not read from this store, because mmengine would unpickle them",
        where=filename,
        fix="copy the file to disk and give its path",
    )
