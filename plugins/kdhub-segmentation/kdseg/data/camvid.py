"""`CamVid`: street scenes of Cambridge, as an mmseg dataset."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mmengine.logging import print_log
from mmseg.datasets import BaseSegDataset

from kdhub.api import UsageError, near_matches
from kdseg.data.camvid_files import CLASSES, SPLITS, UNLABELLED
from kdseg.data.pairs import IMAGES, MASKS, find_pairs, left_out, pairs_fingerprint

_IGNORED = 255
"""What mmseg and every loss here ignore."""
_FIX = "python tools/prepare_data.py camvid"


class CamVid(BaseSegDataset):
    """CamVid with 11 classes: ``data_root/{train,val,test}/images/ID.jpg`` and ``masks/ID.png``.

    Images may also be ``.jpeg``, ``.png``, ``.bmp`` and whatever else mmseg reads; see `kdseg.data.pairs.find_pairs`.

    Masks hold one class number a pixel, in the order of ``METAINFO['classes']``, and 11 for unlabelled, which
    ``LoadAnnotations`` turns into 255 by the data set's ``label_map``: losses and metrics see 0..10 and 255.

    Args:
        data_root: Folder with the splits, made by ``tools/prepare_data.py camvid``.
        split: ``train`` (367 images), ``val`` (101) or ``test``.
        pipeline: Transforms, from ``LoadImageFromFile`` to ``PackSegInputs``.
        metainfo: ``dict(classes=...)`` to keep some of the classes and make 255 of the others.
        indices: Number of images to keep, from the first on, or their indices.
        test_mode: As in mmengine: whether a sample that the pipeline drops is an error, rather than replaced by another.
        lazy_init: As in mmengine: whether to read the folder only when ``full_init`` is called.

    Raises:
        UsageError: For an unknown split, and for a folder that is not as above; see `kdseg.data.pairs.find_pairs`.
    """

    METAINFO: ClassVar[dict[str, Any]] = {
        "classes": CLASSES,
        "palette": [
            [128, 128, 128],
            [128, 0, 0],
            [192, 192, 128],
            [128, 64, 128],
            [0, 0, 192],
            [128, 128, 0],
            [192, 128, 128],
            [64, 64, 128],
            [64, 0, 128],
            [64, 64, 0],
            [0, 128, 192],
        ],
    }

    def __init__(
        self,
        data_root: str,
        split: str = "train",
        pipeline: Sequence[dict[str, Any] | Callable] = (),
        metainfo: dict[str, Any] | None = None,
        indices: int | Sequence[int] | None = None,
        test_mode: bool = False,
        lazy_init: bool = False,
    ) -> None:
        if split not in SPLITS:
            raise UsageError(
                f"CamVid has no split {split!r}", expected=", ".join(SPLITS), near=near_matches(str(split), SPLITS)
            )
        self.split = split
        super().__init__(
            data_root=data_root,
            data_prefix={"img_path": f"{split}/{IMAGES}", "seg_map_path": f"{split}/{MASKS}"},
            pipeline=list(pipeline),
            metainfo=metainfo,
            indices=indices,
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int]:
        """Return what becomes of the masks' numbers: besides mmseg's choice of classes, 11 becomes 255."""
        return {**(super().get_label_map(new_classes) or {}), UNLABELLED: _IGNORED}

    def load_data_list(self) -> list[dict[str, Any]]:
        """Return one entry an image, in the form of ``BaseSegDataset``; say what files are in no pair."""
        pairs = self._pairs()
        if others := left_out(Path(self.data_root, self.split)):
            print_log(f"{self.split}: {len(pairs)} images with masks; left out: {others}", "current", logging.WARNING)
        return [
            {
                "img_path": str(image),
                "seg_map_path": str(mask),
                "label_map": self.label_map,
                "reduce_zero_label": self.reduce_zero_label,
                "seg_fields": [],
            }
            for image, mask in pairs
        ]

    def fingerprint(self) -> str:
        """Identify the split's files, for the run card."""
        return pairs_fingerprint(self._pairs())

    def _pairs(self) -> list[tuple[Path, Path]]:
        return find_pairs(Path(self.data_root, self.split), fix=_FIX)
