"""`Manifest`: what the values of a store depend on, so that no value of another teacher, tap or transform is ever used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from kdhub.errors import UsageError
from kdhub.files import plain
from kdhub.sealed import DamagedFileError, checksum, read_sealed, write_sealed
from kdhub.store.damage import DamagedStoreError
from kdhub.store.tree import Node

FILE_NAME = "manifest.json"
FORMAT = 1
"""Counts changes of the format that an older reader would misread."""

_NOTES = ("errors", "class_names", "batch_size", "model", "metrics")
"""What a store tells besides, and does not depend on."""

WRITE_FIX = "free some space or see why it is not writable, or choose another folder for the store: nothing in it is computed again"


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a store is bound to, and how its values are kept.

    Attributes:
        teacher: Fingerprint of the teacher's weights and config.
        taps: Identity of each tap: path, key and call.
        mode: ``plain`` (the data pipeline is deterministic), ``recorded`` (each sample in ``draws`` augmentations) or
            ``unaugmented`` (each sample as it is, whatever training makes of it).
        draws: Augmentations of each sample; 1 in mode ``plain``.
        seed: Seed that the augmentations are replayed from, if they are.
        samples: Samples of the data set; the store is complete with ``samples * draws`` records.
        data: Fingerprint of the data set.
        preprocessing: Fingerprint of everything between the data set and the teacher.
        precision: In what form the floats of each tap are kept; see `Precision`.
        trees: What the value of each tap is made of; empty until the teacher has run.
        errors: What the form of each tap costs; see `measured_errors`. No part of the fingerprint.
        class_names: The teacher's classes in order, if it has classes. No part of the fingerprint.
        batch_size: Samples of a batch in which the teacher ran when the store was begun. No part of the fingerprint.
        model: ``type`` and ``parameters`` of the teacher, if it is a module. No part of the fingerprint.
        metrics: What the teacher reached on validation data, by what the validation depends on: ``metrics``, ``data`` and
            ``recorded``, the time. No part of the fingerprint.
        format: Version of the format on disk.
    """

    teacher: str
    taps: tuple[str, ...]
    mode: str
    draws: int
    seed: int | None
    samples: int
    data: str
    preprocessing: str
    precision: Mapping[str, str]
    trees: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    batch_size: int | None = None
    model: Mapping[str, Any] | None = None
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.draws < 1 or not (
            self.mode == "recorded" or (self.mode in ("plain", "unaugmented") and self.draws == 1)
        ):
            raise UsageError(
                f"{self.mode!r} with {self.draws} draws is no mode of a store",
                expected="'plain' or 'unaugmented' with 1, or 'recorded' with the number of augmentations of a sample",
            )

    def differences(self, other: Manifest) -> list[str]:
        """Name what differs from another manifest, as ``"teacher: 'a', not 'b'"``; trees count once both are known."""
        found = []
        for entry in fields(self):
            mine, theirs = getattr(self, entry.name), getattr(other, entry.name)
            if entry.name in _NOTES or mine == theirs or (entry.name == "trees" and not (mine and theirs)):
                continue
            if isinstance(mine, Mapping):
                names = [str(name) for name in sorted({*mine, *theirs}) if mine.get(name) != theirs.get(name)]
                found += [f"{entry.name} of {name}: {mine.get(name)!r}, not {theirs.get(name)!r}" for name in names]
            else:
                found.append(f"{entry.name}: {mine!r}, not {theirs!r}")
        return found

    def with_taps_of(self, store: Manifest) -> Manifest:
        """Return this with the taps that a store holds, in its order: a store of several taps serves whoever reads some."""
        return replace(
            self,
            taps=store.taps,
            precision={tap: self.precision.get(tap, store.precision[tap]) for tap in store.taps},
            trees={tap: self.trees.get(tap, store.trees[tap]) for tap in store.taps} if self.trees else {},
        )

    def shortcomings(self, store: Manifest) -> list[str]:
        """Name what keeps a store from serving this: taps that it lacks, and what differs besides its further taps."""
        lacking = [tap for tap in self.taps if tap not in store.taps]
        said = [f"no values of {', '.join(map(repr, lacking))}, only of {', '.join(map(repr, store.taps))}"]
        return [*(said if lacking else ()), *self.with_taps_of(store).differences(store)]

    @property
    def fingerprint(self) -> str:
        """Fingerprint of all that the values depend on; each block of the store carries it."""
        content = {name: value for name, value in plain(asdict(self)).items() if name not in _NOTES}
        return checksum(content)[:16]

    def nodes(self) -> dict[str, Node]:
        """Return what the value of each tap is made of."""
        return {tap: Node.from_json(self.trees[tap]) for tap in self.taps}

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            UsageError: If the disk is full or the folder cannot be written.
        """
        write_sealed(folder / FILE_NAME, asdict(self), WRITE_FIX)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """Read the manifest of a store; ``None`` if there is none.

        Raises:
            DamagedStoreError: If it was changed or cut short.
            UsageError: If it was written by a later kdhub, or cannot be read.
        """
        path = folder / FILE_NAME
        if not path.exists():
            return None
        try:
            content = read_sealed(path)
        except DamagedFileError as error:
            raise DamagedStoreError(path, error.got or "no manifest") from error
        if content["format"] != FORMAT:
            raise UsageError(
                "the store was written by another version of kdhub",
                where=str(path),
                expected=f"format {FORMAT}",
                got=f"format {content['format']}",
                fix="write it anew into another folder with `kdhub cache CONFIG`",
            )
        classes = content.get("class_names")
        known = {entry.name for entry in fields(cls)}  # a later kdhub of this format may note more
        return cls(
            **{
                **{name: value for name, value in content.items() if name in known},
                "taps": tuple(content["taps"]),
                "class_names": None if classes is None else tuple(classes),
            }
        )

    @classmethod
    def require(cls, folder: Path) -> Manifest:
        """Read the manifest of a store that has to be there.

        Raises:
            DamagedStoreError: If it was changed or cut short.
            UsageError: If there is none, or none that can be read.
        """
        manifest = cls.read(folder)
        if manifest is None:
            raise UsageError(
                "no teacher store here", where=str(folder), expected=FILE_NAME, fix="write it: kdhub cache CONFIG"
            )
        return manifest


def other_store_error(folder: Path, differences: Sequence[str]) -> UsageError:
    """Return the error of a folder that is to be written to, but holds another store."""
    return UsageError(
        "the folder holds another teacher store",
        where=str(folder),
        got="; ".join(differences),
        fix="choose another folder for this one, or delete that store",
    )
