"""`KdhubRunner`: mmengine's Runner, but it unpickles nothing, loses no checkpoint and keeps its console readable."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.runner import CheckpointLoader, EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from torch import nn
from torch.utils.data import DataLoader

from kdhub.checkpoint import safe_loading
from kdhub.checkpoint.weights import best_fit, fit_weights, weights_of
from kdhub.config.read.writable import config_text
from kdhub.engine.batch_size import batch_line
from kdhub.engine.defaults import HOOKS
from kdhub.engine.models import student_of
from kdhub.engine.report.console import talk_on_console
from kdhub.engine.resume.buffers import buffer_checksums, unsaved_buffers
from kdhub.engine.resume.loops import KdhubEpochLoop, KdhubIterLoop
from kdhub.engine.resume.replay import wanted_replay
from kdhub.engine.resume.sampling import keyed_loader
from kdhub.engine.resume.saving import collect_checkpoint, write_checkpoint
from kdhub.engine.resume.state import KEY, check_checkpoint, restore_state
from kdhub.engine.workdir.run_card import RunCard
from kdhub.errors import UsageError
from kdhub.files import write_text
from kdhub.inner import unwrapped
from kdhub.rng import seed_generators

_NUMBERS = itertools.count(1)
_WEIGHTS = 1 << 48
"""Part of the key of the random numbers that initialise weights; `kdhub.engine.resume.sampling` has keys of its own."""

_RESUMABLE: dict[Any, type[BaseLoop]] = {
    EpochBasedTrainLoop: KdhubEpochLoop,
    IterBasedTrainLoop: KdhubIterLoop,
    "EpochBasedTrainLoop": KdhubEpochLoop,
    "IterBasedTrainLoop": KdhubIterLoop,
    "mmengine.EpochBasedTrainLoop": KdhubEpochLoop,
    "mmengine.IterBasedTrainLoop": KdhubIterLoop,
}
"""mmengine's loops, as a config may name them, and what stands for them."""


class KdhubRunner(Runner):
    """Runs training, validation and test as mmengine's `Runner`, from the same config.

    Two moments of its own are offered to hooks, besides mmengine's: ``after_save_checkpoint(runner, path, meta)`` in the main
    process once a checkpoint is safe on disk, and ``close(runner)`` at the end whatever happened.

    Attributes:
        run_card: Facts about the run; `RunCardHook` fills it.
        resuming: Whether the checkpoint that is being loaded is one to go on from.
        first_buffers: What buffers that no state dict holds were before anything was loaded.
    """

    run_card: RunCard
    resuming: bool = False
    first_buffers: Mapping[str, bytes] = MappingProxyType({})
    _resumed_state: dict[str, Any] | None = None

    def __init__(self, *arguments: Any, experiment_name: str | None = None, **options: Any) -> None:
        # mmengine finds loggers and message hubs by this name, also those of an earlier run in this process
        super().__init__(*arguments, experiment_name=f"{experiment_name or 'run'}-{next(_NUMBERS)}", **options)

    def build_logger(self, log_level: int | str = "INFO", log_file: str | None = None, **options: Any) -> MMLogger:
        """Build the logger: everything goes to the log file, and to the console what a person wants to know."""
        # called by the constructor, as early as the work_dir is known
        self.run_card = RunCard(Path(self.work_dir))
        logger = super().build_logger(log_level, log_file, **options)
        talk_on_console(logger)
        return logger

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Wrap as mmengine does, where synchronised batch normalisation needs GPUs: on the CPU it is taken back.

        Without a process group mmengine takes it back by itself. Teachers, always in eval mode, never synchronise.
        """
        if self.distributed and not torch.cuda.is_available() and any(map(_is_sync_batchnorm, model.modules())):
            self.logger.info(
                "no GPU: SyncBatchNorm became BatchNorm, with the statistics of each process's own samples"
            )
            model = revert_sync_batchnorm(model)
        wrapped: nn.Module = super().wrap_model(model_wrapper_cfg, model)
        return wrapped

    def register_default_hooks(self, hooks: dict[str, Any] | None = None) -> None:
        """Register hooks; one of kdhub's that is ``None`` stays out, as mmengine has it for its own."""
        super().register_default_hooks(
            {name: hook for name, hook in (hooks or {}).items() if hook or name not in HOOKS}
        )

    def build_train_loop(self, loop: BaseLoop | dict[str, Any]) -> BaseLoop:
        """Build the training loop: mmengine's two as kdhub's, which resume exactly; any other as it is."""
        if isinstance(loop, BaseLoop):
            return loop
        options = dict(loop)
        options.pop("_scope_", None)  # mmengine writes it into what comes from another library's config
        kind = options.pop("type", None)
        if kind is None:
            kind = EpochBasedTrainLoop if options.pop("by_epoch") else IterBasedTrainLoop
        if kind not in _RESUMABLE:
            return super().build_train_loop(loop)
        return _RESUMABLE[kind](runner=self, dataloader=self._build_train_dataloader(), **options)

    def _build_train_dataloader(self) -> DataLoader[Any]:
        different = self._randomness_cfg.get("diff_rank_seed", False)
        loader = self.build_dataloader(self._train_dataloader, seed=self.seed, diff_rank_seed=different)
        # what a sample looks like must not depend on the process that happens to load it
        seed = self.seed - self.rank if different else self.seed
        return keyed_loader(loader, seed, wanted_replay(unwrapped(self.model), self.cfg, loader))

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader[Any] | dict[str, Any], seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader[Any]:
        """Build a loader as mmengine does.

        Raises:
            UsageError: If the data are not where the config says or empty, or a stream is to be sampled.
        """
        try:
            loader: DataLoader[Any] = Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        except (FileNotFoundError, NotADirectoryError) as error:
            described = dataloader.get("dataset", {}) if isinstance(dataloader, dict) else {}
            raise UsageError(
                "the data are not where the config says",
                where=f"data set {described.get('type')}",
                got=str(error),
                fix="see its data_root and the paths below it; --cfg-options data_root=... if the config begins with one",
            ) from error
        except (TypeError, ValueError) as error:
            if "has no len()" not in str(error) and "IterableDataset" not in str(error):
                raise
            raise UsageError(
                "the data set is a stream, which no sampler can draw from",
                got=str(error),
                fix="sampler=None for a stream; give any other data set a __len__",
            ) from error
        if hasattr(loader.dataset, "__len__") and len(loader.dataset) == 0:  # an endless sampler would search for ever
            raise UsageError(
                "the data are empty",
                expected="at least one sample",
                got=f"{type(loader.dataset).__name__} of 0 samples",
                fix="see its paths and what it leaves out (filter_cfg, indices)",
            )
        return loader

    def scale_lr(self, optim_wrapper: OptimWrapper, auto_scale_lr: dict[str, Any] | None = None) -> None:
        """Scale the learning rate if the config asks for it, and say so if it was chosen for another batch."""
        super().scale_lr(optim_wrapper, auto_scale_lr)
        rates = [rate for found in optim_wrapper.get_lr().values() for rate in found]
        if line := batch_line({**self.cfg, "filename": self.cfg.filename}, self.world_size, rates):
            self.logger.info(line)

    @functools.cached_property
    def config_text(self) -> str:
        """The resolved config as Python; formatting it takes seconds, so it is done once."""
        return config_text(self.cfg)

    def dump_config(self) -> None:
        """Write the resolved config, from which the run can be repeated and resumed."""
        if is_main_process() and self._train_loop is not None:
            write_text(Path(self.work_dir, "config.py"), self.config_text)

    def _init_model_weights(self) -> None:
        """Initialise as mmengine does, from random numbers of its own.

        Teachers, adapters and losses drew some when they were built, and a student must start as it would without them.
        """
        seed_generators(self.seed, _WEIGHTS)
        torch.cuda.manual_seed_all(self.seed)
        super()._init_model_weights()

    def load_or_resume(self) -> None:
        """Load weights or go on from a checkpoint, as the config says."""
        self.first_buffers = buffer_checksums(unsaved_buffers(unwrapped(self.model)))
        super().load_or_resume()

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable[..., Any] = "default",
    ) -> None:
        """Go on from a checkpoint, which must fit the model exactly."""
        self.resuming = True
        super().resume(filename, resume_optimizer, resume_param_scheduler, map_location)
        restore_state(self, self._resumed_state)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable[..., Any] = "cpu",
        strict: bool = False,
        revise_keys: Any = None,
    ) -> dict[str, Any]:
        """Load weights safely.

        Args:
            filename: File, URL or model-zoo name. A bare student's weights go into the student of a `Distiller`.
            map_location: As in `torch.load`.
            strict: Whether every weight must find its place; when resuming it must anyway.
            revise_keys: Unused: usual prefixes are found and taken off.

        Returns:
            What the file holds.
        """
        with safe_loading():
            checkpoint: dict[str, Any] = CheckpointLoader.load_checkpoint(filename, map_location, logger=self.logger)
        if self.resuming:
            check_checkpoint(self, checkpoint, filename)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        weights = weights_of(checkpoint, filename)
        model = best_fit((unwrapped(self.model), student_of(self.model)), weights)
        fit_weights(model, weights, where=filename, strict=strict or self.resuming)
        self._has_loaded = True
        self._resumed_state = checkpoint.get(KEY)
        return checkpoint

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: dict[str, Any] | None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        """Save the state of the run atomically; arguments as in mmengine.

        Raises:
            UsageError: If the disk is full; what was saved before is then still there.
        """
        if not is_main_process():
            return
        if file_client_args is not None or backend_args is not None or "://" in out_dir:
            super().save_checkpoint(
                out_dir, filename, file_client_args, save_optimizer, save_param_scheduler, meta, by_epoch, backend_args
            )
            return
        # called before the loop counts the epoch or iteration that has just ended
        progress = {"epoch": self.epoch + int(by_epoch), "iter": self.iter + int(not by_epoch), **(meta or {})}
        checkpoint = collect_checkpoint(self, progress, self.config_text, save_optimizer, save_param_scheduler)
        self.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        path = Path(out_dir, filename)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(path, checkpoint)
        self.call_hook("after_save_checkpoint", path=path, meta=checkpoint["meta"])


def _is_sync_batchnorm(module: nn.Module) -> bool:
    return isinstance(module, nn.SyncBatchNorm)
