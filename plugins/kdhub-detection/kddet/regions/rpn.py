"""Proposals of a detector's first stage, as ViLD distils them: the rival of regions that an image-text model is sure of."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DefaultScope
from torch import Tensor

from kdhub.api import UsageError, load_weights


class Detector:
    """The first stage of an exported two-stage detector.

    Args:
        folder: With ``config.py`` and ``student.pth``, such as ``@base/student`` of a run.

    Raises:
        UsageError: If there is no detector, or it has no RPN.
    """

    def __init__(self, folder: str) -> None:
        from mmdet.registry import MODELS

        path = Path(folder)
        if not (path / "config.py").is_file():
            raise UsageError("no detector here", where=folder, expected="config.py and student.pth of a run's student")
        config = Config.fromfile(path / "config.py")
        model = MODELS.build({"_scope_": "mmdet", **config.model})
        if not getattr(model, "with_rpn", False):
            raise UsageError("the detector has no RPN", where=folder, got=type(model).__name__)
        load_weights(model, path / "student.pth")
        self._model = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
        with DefaultScope.overwrite_default_scope("mmdet"):
            self._pipeline = Compose(config.test_dataloader.dataset.pipeline)

    @torch.no_grad()
    def proposals(self, image: Path) -> tuple[Tensor, Tensor]:
        """Find boxes ``(n, 4)`` in pixels of the file, the surest first, and their objectness ``(n,)``."""
        sample = self._pipeline({"img_path": str(image), "img_id": 0, "instances": []})
        batch = self._model.data_preprocessor(pseudo_collate([sample]), False)
        features = self._model.extract_feat(batch["inputs"])
        (found,) = self._model.rpn_head.predict(features, batch["data_samples"], rescale=True)
        return found.bboxes.cpu(), found.scores.cpu()
