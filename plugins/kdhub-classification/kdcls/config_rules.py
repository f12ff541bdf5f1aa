"""What a config's data sets must agree on; imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from kdcls.class_folders import class_folders
from kdhub.api import data_places

if TYPE_CHECKING:
    from kdhub.api import Report

_OF_OTHER_CLASSES = "outside"
"""Of `kdood.Mixed`: images out of distribution."""
_FOLDERS = ("kdcls.ImageFolder", "kdcls.images.ImageFolder")


def check(cfg: Mapping[str, Any], report: Report) -> None:
    """See that image folders number the same classes in training, validation and test.

    Each data set numbers its folders by itself. Where one lacks a class, all later labels are shifted, and the accuracy is of
    other answers than the net gives. Data that cannot be read yet are left to the data set, and so is a single class, as images without
    labels have.
    """
    found = list(_classes(cfg.get("train_dataloader"), "train_dataloader"))
    for key in ("val_dataloader", "test_dataloader"):
        found += _classes(cfg.get(key), key)
    if not found or not found[0][0].startswith("train_dataloader"):
        return
    training, names = found[0]
    for path, others in found[1:]:
        if others != names:
            report.error(
                f"{path}.classes",
                f"the images have other classes than those of {training}, so the same label means another class",
                expected=_some(names),
                got=f"{_some(others)}{_difference(names, others)}",
                fix="give all of them the same list, classes=[...]: a class of it may have no folder; or mend the folders",
            )


def _classes(value: Any, path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the key path and the classes of each labelled image folder at or below a value, however it is wrapped."""
    if isinstance(value, list | tuple):
        for place, one in enumerate(value):
            yield from _classes(one, f"{path}.{place}")
    elif isinstance(value, Mapping):
        if value.get("type") in _FOLDERS:
            if len(names := _names(value)) > 1:
                yield path, names
            return
        for key, one in value.items():
            if key != _OF_OTHER_CLASSES:
                yield from _classes(one, f"{path}.{key}")


def _names(data: Mapping[str, Any]) -> tuple[str, ...]:
    if isinstance(given := data.get("classes"), list | tuple):
        return tuple(map(str, given))
    root = data.get("root")
    places = data_places(root) if isinstance(root, str) else []
    try:
        return next((class_folders(place) for place in places if place.exists()), ())
    except (OSError, BadZipFile):
        return ()


def _difference(names: tuple[str, ...], others: tuple[str, ...]) -> str:
    missing, more = sorted(set(names) - set(others)), sorted(set(others) - set(names))
    facts = [f"without {_some(missing)}"] * bool(missing) + [f"with {_some(more)}"] * bool(more)
    return f": {' and '.join(facts)}" if facts else ": the same in another order"


def _some(names: Any) -> str:
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''} ({len(names)})"
