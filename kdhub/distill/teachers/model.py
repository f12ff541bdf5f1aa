"""`ModelTeacher`: a live, frozen model."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch.nn.utils import convert_conv2d_weight_memory_format

from kdhub.checkpoint import load_weights, safe_loading
from kdhub.config.standing import scoped
from kdhub.distill.arguments import choice, number, require
from kdhub.distill.knowledge import drawn_at_random, weights_fingerprint
from kdhub.distill.precision import PRECISIONS, HalfPrecision
from kdhub.distill.taps import Tap, recording
from kdhub.distill.teachers.base import CONFIG_MARKER, Teacher
from kdhub.errors import GuardError, UsageError
from kdhub.fingerprints import json_fallback


class ModelTeacher(Teacher):
    """A live teacher: any mmengine model, frozen, always in eval mode, outside optimizer and checkpoint.

    Args:
        model: Config of a registered `BaseModel`; path of a config file, whose model is meant with the preprocessor and the
            scope of that file, and whose student if it trains a `Distiller`; or a built model.
        checkpoint: Weights, as ``.safetensors`` or a checkpoint that needs no unpickling. ``None`` keeps what the
            model's constructor or its ``init_cfg`` loaded. If nothing was loaded, a warning says that the teacher knows
            nothing: a model that is built from a config is built once more for this, with other random numbers, and named
            if no weight is the same in both.
        mode: ``mode`` of the model's ``forward``; ``"tensor"`` needs no labels.
        batch: ``"raw"`` gives the teacher the collated batch through its own preprocessing (normalisation, tokenizer),
            padded as in training, without its ``batch_augments``. ``"student"`` gives it exactly what the student gets, for a student that mixes or augments the batch in its
            preprocessor.
        precision: ``"float32"``, the default, keeps the teacher out of the student's mixed precision, so that its answers
            do not change when the student's flags do. ``"auto"`` runs it in half precision, where the device has it,
            after the first batches showed that its taps read nearly the same, and otherwise says so and stays in
            float32; ``"bfloat16"`` does so or stops. What it saves is measured by ``benchmarks/peers.py``. ``"amp"`` lets the student's autocast apply, unmeasured. Validation of the teacher is in float32.
        max_error: Largest relative error of a tap that ``"auto"`` and ``"bfloat16"`` accept; see
            `kdhub.distill.precision.HalfPrecision`. 0.02 lets a ResNet-34 (0.006) and a MiniLM (0.006) pass, and not the
            feature maps of an EfficientNet-Lite (0.05), whose top class changed in some images.
        class_names: Names of its classes in order; by default those its checkpoint records.
        own_weights: ``True`` takes the weights that the model's constructor gave it, random or not, without a warning:
            no ``checkpoint`` may be given, and ``init_cfg`` is left alone.

    Raises:
        UsageError: For a model that is not a `BaseModel`, weights that do not fit it, or ``own_weights`` beside a checkpoint.
    """

    model: BaseModel

    def __init__(
        self,
        model: Mapping[str, Any] | str | BaseModel,
        checkpoint: str | None = None,
        mode: str = "tensor",
        batch: str = "raw",
        precision: str = "float32",
        class_names: Sequence[str] | None = None,
        max_error: float = 0.02,
        own_weights: bool = False,
    ) -> None:
        require("ModelTeacher", choice(("raw", "student")), batch=batch)
        require("ModelTeacher", choice(PRECISIONS), precision=precision)
        require("ModelTeacher", number(above=0), max_error=max_error)
        if own_weights and checkpoint is not None:
            raise UsageError(
                "ModelTeacher: weights of its own and a checkpoint",
                got=f"own_weights=True, checkpoint={checkpoint!r}",
                fix="leave out one of the two",
            )
        self.model, self._config = _build(model)
        meta: Mapping[str, Any] = {}
        if checkpoint is not None:
            with _advising_to_train(model, checkpoint):
                meta = load_weights(self.model, checkpoint)
        elif not own_weights:
            _init_weights(self.model)
            if isinstance(self._config, Mapping) and drawn_at_random(self.model, self._built_again):
                print_log(
                    "teacher: its weights are random and it knows nothing: no checkpoint is given, and its model loads none"
                    " (checkpoint=... gives it weights; own_weights=True says that it is meant so)",
                    logger="current",
                    level=logging.WARNING,
                )
        recorded = (meta.get("dataset_meta") or {}).get("classes")
        names = class_names if class_names is not None else recorded
        self.class_names = tuple(names) if names else None
        self.mode = mode
        self.batch = batch
        self.precision = precision
        self._half = HalfPrecision(precision, max_error) if precision in ("bfloat16", "auto") else None
        self._layout = torch.contiguous_format
        self._takes_channels_last = True
        self.model.requires_grad_(False).eval()
        if getattr(self.model.data_preprocessor, "batch_augments", None):
            print_log("teacher: its batch_augments are left out; it sees the images as they are", logger="current")
            self.model.data_preprocessor.batch_augments = None
        self._fingerprint: str | None = None

    def preprocess(self, raw: Any, training: bool) -> Any:
        """Give the teacher its own view of the collated batch.

        Args:
            raw: The collated batch; it is not changed.
            training: Whether to pad as in training, so that the teacher sees the frame that the student sees.
        """
        return self.model.data_preprocessor(_copy_containers(raw), training)

    def values(self, batch: Any, taps: Sequence[Tap], *, check_mode: bool) -> None:
        """Run the teacher once without gradients, so that afterwards each tap that fired can be read.

        Args:
            batch: What `preprocess` returned.
            taps: Taps to attach for this pass.
            check_mode: Whether to stop if any module of the teacher is in train mode.

        Raises:
            GuardError: If a module is in train mode; dropout and batch statistics would blur the teacher unnoticed.
        """
        if check_mode:
            self._check_mode()
        device = next((parameter.device for parameter in self.model.parameters()), torch.device("cpu"))
        if self._half is not None:
            self._half.answer(lambda *run: self._laid_out_forward(batch, device, *run), taps, device)
        elif self.precision == "amp" and torch.is_autocast_enabled(device.type):
            self._forward(batch, device, taps, torch.get_autocast_dtype(device.type))
        else:
            self._forward(batch, device, taps, torch.float32)

    def _laid_out_forward(self, batch: Any, device: torch.device, taps: Sequence[Tap], dtype: torch.dtype) -> None:
        half = dtype is not torch.float32
        self._lay_out(torch.channels_last if half and self._takes_channels_last else torch.contiguous_format)
        try:
            # a model may write into its samples, and the first batches are run more than once
            self._forward(_copy_containers(batch), device, taps, dtype)
        except RuntimeError as error:
            if self._layout is torch.contiguous_format or "view size is not compatible" not in str(error):
                raise
            print_log("teacher: it views feature maps in the order (B, C, H, W), so they stay so", "current")
            self._takes_channels_last = False
            self._laid_out_forward(batch, device, taps, dtype)

    def _forward(self, batch: Any, device: torch.device, taps: Sequence[Tap], dtype: torch.dtype) -> None:
        half = dtype is not torch.float32
        autocast = torch.autocast(device.type, dtype if half else None, enabled=half)
        with torch.no_grad(), autocast, recording(taps, self.model):
            self.model._run_forward(batch, mode=self.mode)

    def _lay_out(self, layout: torch.memory_format) -> None:
        """Lay out the weights of convolutions, which their outputs follow.

        Convolutions in half precision are faster with channels last, in float32 hardly.
        """
        if layout is not self._layout:
            convert_conv2d_weight_memory_format(self.model, layout)
            self._layout = layout

    def val_step(self, data: Any) -> Any:
        """Predict on a collated validation batch, so that the teacher is measured as the student is."""
        self._lay_out(torch.contiguous_format)
        return self.model.val_step(data)

    def fingerprint(self) -> str:
        """Identify the teacher: ``weights-<sha256>.config-<sha256>``, 16 digits each."""
        if self._fingerprint is None:
            self._fingerprint = f"weights-{weights_fingerprint(self.model)[:16]}{self.config_fingerprint()}"
        return self._fingerprint

    def config_fingerprint(self) -> str:
        """Identify all but the weights, as the end of `fingerprint`."""
        settings = [self._config, self.mode, self.batch, self.precision]
        config = hashlib.sha256(json.dumps(settings, sort_keys=True, default=json_fallback).encode())
        return f"{CONFIG_MARKER}{config.hexdigest()[:16]}"

    def state(self) -> dict[str, Any]:
        """Return what the run decided on the way, for its checkpoints and run card: the precision and the errors measured.

        Plain values, empty where nothing is decided.
        """
        return {} if self._half is None else self._half.state()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned when the checkpoint was written, before the first resumed batch."""
        if self._half is not None and state:
            self._half.load_state(state)

    def to(self, device: torch.device) -> None:
        """Move to the student's device; the dtype stays the teacher's own."""
        self.model.to(device)

    def _built_again(self) -> BaseModel:
        model: BaseModel = MODELS.build(copy.deepcopy(self._config))
        _init_weights(model)
        return model

    def _check_mode(self) -> None:
        for name, module in self.model.named_modules():
            if module.training:
                raise GuardError(
                    f"the teacher is in train mode at {name or 'its root'!r} ({type(module).__name__})",
                    expected="every module in eval mode",
                    fix="find who called .train() on it, or set model.guards.teacher_mode=False if a noisy teacher is meant",
                )


@contextmanager
def _advising_to_train(model: Any, checkpoint: str) -> Iterator[None]:
    """Add to the error of a missing file what makes it, if the teacher is that of a config."""
    try:
        yield
    except UsageError as error:
        if isinstance(model, str) and not (error.fix or "://" in checkpoint or Path(checkpoint).exists()):
            error.replace_fix(f"train the teacher first: kdhub train {shlex.quote(model)}")
        raise


def _build(model: Mapping[str, Any] | str | BaseModel) -> tuple[BaseModel, Any]:
    if isinstance(model, str):
        from kdhub.config.read.load import load_config

        print_log(f"teacher: the model of {model}", logger="current")
        file, model = model, scoped(load_config(model))
        if not isinstance(model, Mapping):
            raise UsageError("the config has no model", where=file, expected="model=dict(type=...)")
    config: Any = copy.deepcopy(dict(model)) if isinstance(model, Mapping) else type(model).__name__
    built = MODELS.build(model) if isinstance(model, Mapping) else model
    if not isinstance(built, BaseModel):
        raise UsageError(
            "ModelTeacher wants an mmengine BaseModel",
            got=type(built).__name__,
            fix="wrap it in a BaseModel with a data_preprocessor, or use the wrapper of a plugin (kdhub list model)",
        )
    return built, config


def _init_weights(model: BaseModel) -> None:
    if any(getattr(module, "init_cfg", None) for module in model.modules()):
        with safe_loading():
            model.init_weights()


def _copy_containers(raw: Any) -> Any:
    """Copy containers and samples but no tensor: preprocessors write padding and shapes into the samples."""
    if isinstance(raw, Mapping):
        return {key: _copy_containers(value) for key, value in raw.items()}
    if isinstance(raw, list):
        return [_copy_containers(value) for value in raw]
    if isinstance(raw, torch.Tensor | str | int | float | tuple):
        return raw
    if isinstance(raw, BaseDataElement):  # copy.copy would share the lists of its fields
        copied = raw.new()
        for name, value in raw.items():
            if isinstance(value, BaseDataElement):  # a label map, which would be padded for the student too
                setattr(copied, name, _copy_containers(value))
        return copied
    return copy.copy(raw)
