"""What a stored teacher reaches: measured by `kdhub cache`, which has the live one, and kept in the store for each report."""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmengine.logging import MMLogger, print_log
from torch import nn
from torch.utils.data import DataLoader

from kdhub.engine.distributed import decided_by_main_process
from kdhub.engine.evaluation import PARTS, evaluate_teacher, keep_only
from kdhub.engine.report.console import metrics_line
from kdhub.engine.resume.data_identity import data_fingerprint, described_dataset
from kdhub.engine.runner import KdhubRunner
from kdhub.engine.workdir.identity import config_fingerprint
from kdhub.engine.workdir.run_card import now
from kdhub.files import plain
from kdhub.rng import preserved_randomness
from kdhub.store import Manifest, StoreReader

if TYPE_CHECKING:
    from kdhub.caching.stored import StoredTeacher


def find_metrics(manifest: Manifest, cfg: Mapping[str, Any], loader: DataLoader[Any]) -> dict[str, Any] | None:
    """Look up what the teacher of a store reached on a run's validation data.

    Args:
        manifest: The store's.
        cfg: The run's config.
        loader: The run's validation data.

    Returns:
        ``metrics``, ``data`` (what they were measured on) and ``recorded`` (when); ``None`` if the store has none for
        exactly this validation.
    """
    found = manifest.metrics.get(_validation(cfg, loader))
    return None if found is None else dict(found)


def record_metrics(cfg: Any, name: str, stored: StoredTeacher, student: nn.Module) -> None:
    """Evaluate a live teacher as a run does before it trains, and keep the metrics in its store.

    Nothing is done where the run would not evaluate its teacher, or where the store knows. The manifest is written anew
    once the metrics are there, in the main process, which must hold the lock of the store.

    Args:
        cfg: The run's config, which is not changed.
        name: Name of the teacher.
        stored: The stored teacher, whose store is complete, with its live one.
        student: The run's student, which may preprocess for the teacher.
    """
    live = stored.live
    if live is None or live.model is None or not _wanted(cfg):
        return
    with tempfile.TemporaryDirectory(prefix="kdhub-") as folder, preserved_randomness():
        runner = _runner(cfg, folder)
        validation = _validation(cfg, runner.val_dataloader)
        if decided_by_main_process(lambda: validation in StoreReader(stored.store).manifest.metrics):
            return
        print_log(f"evaluating teacher {name!r} (default_hooks.baseline.teacher=False leaves it out)", "current")
        try:
            metrics = evaluate_teacher(runner, name, live, student)
        finally:
            runner.call_hook("close")
    data = data_fingerprint(runner.val_dataloader.dataset)
    entry = {"metrics": plain(metrics), "data": data, "recorded": now()}
    decided_by_main_process(lambda: _add(stored, validation, entry))


def describe_metrics(entry: Mapping[str, Any]) -> str:
    """Write a store's entry in one line: the metrics, and when they were measured."""
    return f"{metrics_line(entry['metrics'])} (recorded by kdhub cache on {entry['recorded'][:10]})"


class _Evaluator(KdhubRunner):
    """Speaks through the logger that is there, and leaves no log file."""

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **options: Any) -> MMLogger:
        return MMLogger.get_current_instance()


def _wanted(cfg: Any) -> bool:
    """Whether a run with a live teacher would evaluate it."""
    hook = (cfg.get("default_hooks") or {}).get("baseline", {})
    return hook is not None and hook.get("teacher", True) and all(cfg.get(part) is not None for part in PARTS["val"])


def _runner(cfg: Any, folder: str) -> KdhubRunner:
    """Build a runner that only validates, and whose place a model can take."""
    cfg = copy.deepcopy(cfg)
    keep_only(cfg, "val")
    for key in ("custom_hooks", "load_from", "resume"):
        cfg.pop(key, None)
    cfg.work_dir = folder
    cfg.model = nn.Identity()
    # of several processes each has its share of the data and the metrics of all; only DistributedDataParallel, which
    # refuses a frozen model, is left out
    cfg.launcher = "none"
    cfg.visualizer = {"type": "Visualizer"}  # the run's own may write to services elsewhere
    runner: KdhubRunner = _Evaluator.from_cfg(cfg)
    return runner


def _validation(cfg: Mapping[str, Any], loader: DataLoader[Any]) -> str:
    """Fingerprint all that metrics depend on besides the model."""
    described = dict(cfg["val_dataloader"]) | {
        "dataset": described_dataset(cfg["val_dataloader"]["dataset"], loader.dataset)
    }
    return config_fingerprint([described, cfg["val_evaluator"], cfg["val_cfg"], data_fingerprint(loader.dataset)])


def _add(stored: StoredTeacher, validation: str, entry: Mapping[str, Any]) -> None:
    manifest = StoreReader(stored.store).manifest
    dataclasses.replace(manifest, metrics={**manifest.metrics, validation: entry}).write(stored.store)
