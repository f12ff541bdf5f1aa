"""`checkpoints.json`: what each checkpoint of a folder must look like, so that a damaged one is never used."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

from kdhub.errors import UsageError
from kdhub.files import file_sha256
from kdhub.sealed import DamagedFileError, read_sealed, write_sealed

LEDGER = "checkpoints.json"
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"


@dataclass(frozen=True, slots=True)
class Entry:
    """A checkpoint as it was written.

    Attributes:
        sha256: Checksum of the whole file.
        size: Bytes.
        iteration: Iterations that the run had done.
        resumable: Whether it holds the optimizer, which the best checkpoint of a run does without.
    """

    sha256: str
    size: int
    iteration: int
    resumable: bool


@dataclass
class Ledger:
    """The entries of one folder, in the order in which its checkpoints were written; only the main process writes it."""

    folder: Path
    entries: dict[str, Entry] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        """Read the ledger of a folder, empty where there is none.

        Raises:
            DamagedFileError: If the file is not what was written.
        """
        path = folder / LEDGER
        if not path.is_file():
            return cls(folder)
        try:
            files = read_sealed(path)["files"]
            return cls(folder, {one.pop("name"): Entry(**one) for one in files})
        except (LookupError, TypeError, AttributeError) as error:
            raise DamagedFileError(f"{LEDGER} is not one of kdhub's", where=str(folder), got=repr(error)) from error

    def record(self, path: Path, iteration: int, resumable: bool) -> None:
        """Note a checkpoint that has just been written, or was found whole, as the newest."""
        self.entries.pop(path.name, None)
        self.entries[path.name] = Entry(file_sha256(path), path.stat().st_size, iteration, resumable)

    def forget_after(self, iteration: int) -> None:
        """Drop what lies ahead of a run that goes on from ``iteration``: it will be written anew."""
        self.entries = {name: one for name, one in self.entries.items() if one.iteration <= iteration}

    def write(self) -> None:
        """Write the file atomically, without entries of checkpoints that were removed.

        Raises:
            UsageError: If it cannot be written.
        """
        self.entries = {name: one for name, one in self.entries.items() if (self.folder / name).is_file()}
        files = [{"name": name, **asdict(one)} for name, one in self.entries.items()]
        write_sealed(self.folder / LEDGER, {"files": files})

    def fault(self, path: Path) -> str | None:
        """Say what is wrong with a checkpoint of this folder; ``None`` if it is as it was written.

        One without an entry, of an older kdhub or of mmengine, is looked at with the checksums inside its zip.
        """
        entry = self.entries.get(path.name)
        try:
            if entry is None:
                return _zip_fault(path)
            size = path.stat().st_size
            if size == entry.size and file_sha256(path) == entry.sha256:
                return None
            if _begins(path, _ZIP) and _zip_fault(path) is None and _time(path) > _time(self.folder / LEDGER):
                # a run that was killed after it wrote a checkpoint of a former one's name, before its entry
                return None
            return f"{size} of {entry.size} bytes" if size < entry.size else "its checksum is not the recorded one"
        except OSError as error:
            return error.strerror or str(error)

    def resumable(self) -> list[Path]:
        """Return the checkpoints that a run can go on from, the newest first."""
        paths = (self.folder / name for name, entry in reversed(self.entries.items()) if entry.resumable)
        return [path for path in paths if path.is_file()]

    def newest_healthy(self) -> Path | None:
        """Return the newest checkpoint to go on from that is as it was written; ``None`` if there is none."""
        return next((path for path in self.resumable() if self.fault(path) is None), None)


def read_ledger(folder: Path) -> tuple[Ledger, list[str]]:
    """Read the ledger of a folder; of a damaged one nothing is believed, and a line of warning says so."""
    try:
        return Ledger.read(folder), []
    except DamagedFileError as error:
        return Ledger(folder), [f"{error.what}: checkpoints are checked by the checksums within them"]


def require_healthy(path: Path) -> list[str]:
    """Refuse a checkpoint that is not as it was written.

    Args:
        path: The checkpoint. One that does not exist is left to whoever reads it.

    Returns:
        Lines of warning: the folder's ledger may be damaged itself.

    Raises:
        UsageError: Naming the file and, if there is one, the newest of its folder that is whole.
    """
    if not path.is_file():
        return []
    ledger, warnings = read_ledger(path.parent)
    fault = ledger.fault(path)
    if fault is not None:
        instead = ledger.newest_healthy()
        fix = f"use {instead}, the newest that is whole" if instead else "restore it from a copy, or train again"
        raise UsageError("the checkpoint is damaged", where=str(path), got=fault, fix=fix)
    return warnings


def _time(path: Path) -> int:
    return path.stat().st_mtime_ns


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic


def _zip_fault(path: Path) -> str | None:
    """Compare a file of `torch.save` with the checksums that any zip has; its former format, a pickle, has none."""
    if not _begins(path, _ZIP):
        unknowable = path.suffix != ".pth" or _begins(path, _PICKLE)  # whatever reads another format checks it
        return None if unknowable else "it does not begin as a checkpoint does"
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    # a flipped byte in a header may ask for anything: a method that zipfile lacks, a password, a length beyond the file
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError) as error:
        return str(error) or type(error).__name__
    return f"the checksum of {bad} does not match" if bad else None
