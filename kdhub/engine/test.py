"""`test`: how good a checkpoint's student is on the test data."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from mmengine.config import Config

from kdhub.checkpoint import load_weights, safe_loading
from kdhub.checkpoint.intact import require_intact
from kdhub.config.standing import student_as_it_stands
from kdhub.engine.defaults import require_parts
from kdhub.engine.distributed import decided_by_main_process, process_group
from kdhub.engine.evaluation import PARTS, keep_only
from kdhub.engine.faults.explained import explained
from kdhub.engine.runner import KdhubRunner
from kdhub.files import plain
from kdhub.inner import unwrapped
from kdhub.registry import init


def test(cfg: Config, checkpoint: str | Path, *, launcher: str = "none") -> dict[str, Any]:  # noqa: PT028 - no pytest test
    """Evaluate a student on the test data; a teacher is neither built nor needed.

    Args:
        cfg: Config of the run, which is not changed.
        checkpoint: A checkpoint of the run, or the weights of its student.
        launcher: ``none``, or ``pytorch`` under torchrun.

    Returns:
        Metrics by name, as plain numbers.

    Raises:
        UsageError: If the config says nothing about testing, or the weights are damaged or do not fit.
    """
    init()
    cfg = copy.deepcopy(cfg)
    require_parts(
        cfg, PARTS["test"], "testing", fix="set them, for instance test_dataloader = val_dataloader and so on"
    )
    cfg.model = student_as_it_stands(cfg)["model"]
    keep_only(cfg, "test")
    with process_group(cfg, launcher), safe_loading(), explained(cfg, lambda: "the same command"):
        return _test(cfg, checkpoint)


def _test(cfg: Config, checkpoint: str | Path) -> dict[str, Any]:
    decided_by_main_process(lambda: require_intact(Path(checkpoint)))
    runner: KdhubRunner = KdhubRunner.from_cfg(cfg)
    load_weights(unwrapped(runner.model), checkpoint)
    try:
        metrics: dict[str, Any] = plain(runner.test())
        return metrics
    finally:
        runner.call_hook("close")
