"""Whether a checkpoint is as it was written: `torch.save` writes a zip with a checksum of each part, and `torch.load` compares none."""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import torch

from kdhub.errors import UsageError

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_DOS_FOLDER = 0x10
"""Attribute of a zip's folder; of a part with this bit flipped torch reads no bytes, and gives zeros."""


def damage_of(path: Path) -> str | None:
    """Say what is wrong with a checkpoint; ``None`` if nothing is, or if its format has no checksums, as torch's former one."""
    try:
        with path.open("rb") as stream:
            head = stream.read(len(_ZIP))
        if head != _ZIP:
            unknowable = path.suffix != ".pth" or head.startswith(_PICKLE)
            return None if unknowable else "it does not begin as a checkpoint does"
        with zipfile.ZipFile(path) as archive:
            folders = (one.filename for one in archive.infolist() if one.external_attr & _DOS_FOLDER)
            if bad := archive.testzip() or next(folders, None):
                return f"{bad} in it is not as its checksum says"
        # the zip's table of contents has no checksum, and torch's reader asks more of it than Python's; what the pickle holds,
        # which is as it was written, is for whoever loads it
        with suppress(pickle.UnpicklingError, LookupError, AttributeError, TypeError, AssertionError):
            torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except OSError as error:
        return error.strerror or str(error)
    # a flipped bit in a header may ask for anything: a method that zipfile lacks, a password, a length beyond the file
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError) as error:
        return str(error).partition("\n")[0] or type(error).__name__
    return None


def require_intact(path: Path) -> None:
    """Refuse a damaged checkpoint; one that does not exist is left to whoever reads it.

    Raises:
        UsageError: Naming the file and what is wrong with it.
    """
    if path.is_file() and (damage := damage_of(path)):
        raise UsageError(
            "the checkpoint is damaged", where=str(path), got=damage, fix="restore it from a copy, or name another one"
        )
