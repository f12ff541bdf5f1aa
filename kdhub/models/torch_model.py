"""`TorchModel`: any ``nn.Module`` as a model of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModel, BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from kdhub.distill.arguments import LIST, require
from kdhub.errors import UsageError
from kdhub.models.batch_form import BatchForm, Entry, keywords_of
from kdhub.models.named import build_named
from kdhub.registry import init
from kdhub.values import describe, item

_OTHER_TYPE = re.compile(r"same dtype|should be the same|expected scalar type")
"""How torch says that it does not compute with numbers of two types."""


class TorchModel(BaseModel):
    """Any ``nn.Module`` as a student, a teacher's model or a model alone: torchvision's, timm's, transformers', one's own.

    Taps, `kdhub probe`, checkpoints to load and the exported student know only the net: a path is ``layer3``, and the
    exported file loads strictly into what ``net`` describes.

    Batches may be ``(inputs, labels)``, mmengine's ``dict(inputs=..., data_samples=...)``, or a dict with the net's own
    keywords beside ``labels``, as tokenizers and image processors of transformers make. Objectives read
    the student's batch in one form, ``dict(inputs=..., labels=...)``: ``batch=dict(labels='labels')`` always fits.

    Args:
        net: The module as a dict whose ``type`` is an import path, such as ``torchvision.models.resnet18``,
            ``timm.create_model`` or ``transformers.AutoModelForSequenceClassification.from_config``, with its arguments;
            dicts with ``type`` among these are built too. Or a name in mmengine's registry, or a built module. What
            it downloads is what its arguments ask for.
        criterion: The model's own loss, called with the output and the labels: a dict as for ``net``, such as
            ``dict(type='torch.nn.CrossEntropyLoss', label_smoothing=0.1)``. ``None``: the net computes its loss if its
            ``forward`` takes ``labels``, as those of transformers do; otherwise the model has no loss of its own, which is
            right for teachers and for students that objectives alone teach.
        inputs: What the net is given: position in a tuple, or dotted path in a dict; or a dict of the net's keyword to
            either. ``None``: the first of two parts, ``inputs``, or what the net's ``forward`` names.
        labels: Position or dotted path of the labels, such as ``data_samples.gt_label``. ``None``: the second of
            two parts, ``labels``, ``label``, ``targets`` or ``target``, or the ``gt_label`` of data samples.
        output: Key, index or attribute of the net's result that ``criterion`` and metrics get. ``None``: the
            tensor itself, ``logits``, ``out``, or the first tensor of a tuple.
        data_preprocessor: Preprocessing on the device, such as ``dict(type='ImgDataPreprocessor', mean=[...], std=[...])``;
            it gets ``dict(inputs=..., labels=...)``. ``None`` moves the batch only.
        init_cfg: Refused: a net is initialised as it is built.
        fields: What else of a batch that is a dict objectives read, such as ``['index']`` for `kdcls.CRD`; the net gets none of it.

    Raises:
        UsageError: If the net cannot be built or is no module, and for batches and results in which nothing can be found.

    Example:
        ::

            model = dict(
                type='kdhub.TorchModel',
                net=dict(type='torchvision.models.resnet18', num_classes=10),
                criterion=dict(type='torch.nn.CrossEntropyLoss'))
    """

    def __init__(
        self,
        net: Any,
        criterion: Any = None,
        inputs: Entry | Mapping[str, Entry] | None = None,
        labels: Entry | None = None,
        output: int | str | None = None,
        data_preprocessor: Any = None,
        init_cfg: Any = None,
        fields: Sequence[str] = (),
    ) -> None:
        init()
        require("TorchModel", LIST, fields=fields)
        if taken := {"inputs", "labels", "mode"}.intersection(fields):
            raise UsageError("a field of this name is there already", where="TorchModel.fields", got=", ".join(taken))
        if init_cfg is not None:
            raise UsageError(
                "a net is initialised as it is built",
                where="TorchModel.init_cfg",
                got=repr(init_cfg),
                fix="use the net's own arguments, or ModelTeacher's checkpoint and load_from for weights",
            )
        built = build_named("model", net, "TorchModel.net")
        if not isinstance(built, nn.Module):
            raise UsageError(
                "not a module",
                where="TorchModel.net",
                expected="a torch.nn.Module",
                got=type(built).__name__,
            )
        if type(built).__module__.startswith("torchvision.models.detection"):
            raise UsageError(
                "a detection net of torchvision takes lists of images and of targets, and TorchModel gives it one tensor",
                where="TorchModel.net",
                got=type(built).__name__,
                fix="write a mmengine.model.BaseModel around it, whose forward returns the net's losses in mode 'loss'",
            )
        own = data_preprocessor if data_preprocessor is not None else {"type": "mmengine.BaseDataPreprocessor"}
        own = MODELS.build(own) if isinstance(own, Mapping) else own
        super().__init__(data_preprocessor=BatchForm(own, built.forward, inputs, labels, fields))
        self.net = built
        self.criterion = build_named("loss", criterion, "TorchModel.criterion")
        self.output = output
        self._takes_labels = "labels" in keywords_of(built.forward)[0]

    @property
    def kdhub_inner(self) -> nn.Module:
        """The net, which this model stands for; see `kdhub.inner`."""
        return self.net

    def forward(self, inputs: Any, labels: Any = None, mode: str = "tensor", **fields: Any) -> Any:
        """Run the net on a preprocessed batch.

        Args:
            inputs: What the net is given: a dict of its keywords, or its first argument, batch axis B first.
            labels: Labels (B, ...).
            mode: ``loss``, ``predict`` or ``tensor``.
            **fields: What objectives read; it has no part here.

        Returns:
            In mode ``loss`` a dict with ``loss_task``, empty without criterion and loss of the net; in mode ``predict`` a
            list of B dicts with ``pred_score``, the sample's output, and ``gt_label``; in mode ``tensor`` the output.

        Raises:
            UsageError: If the criterion has no labels, or the result has no output.
        """
        if mode == "loss":
            return self._losses(inputs, labels)
        output = self._output(self._run(inputs))
        return output if mode == "tensor" else _samples(output, labels)

    def init_weights(self) -> None:
        """Initialise a net of mmengine's kind; any other did it as it was built.

        mmengine would call a method of this name of any net, and those of timm and transformers would overwrite weights that
        the net was built with.
        """
        if isinstance(self.net, BaseModule):
            self.net.init_weights()

    def parse_losses(self, losses: Any) -> Any:
        """Sum up as mmengine does; called only if the model is trained alone.

        Raises:
            UsageError: If there is no loss.
        """
        if not losses:
            raise UsageError(
                "the model has no loss of its own to train on",
                where="TorchModel.criterion",
                got="criterion=None, and the net computes no loss",
                fix="criterion=dict(type='torch.nn.CrossEntropyLoss')",
            )
        return super().parse_losses(losses)

    def _run(self, inputs: Any, **more: Any) -> Any:
        try:
            return self.net(**inputs, **more) if isinstance(inputs, Mapping) else self.net(inputs, **more)
        except RuntimeError as error:
            if _OTHER_TYPE.search(str(error)) is None:
                raise
            raise UsageError(
                "the net's weights and its inputs are numbers of different types",
                where="TorchModel.inputs",
                got=f"{describe(inputs)}: {str(error).splitlines()[0][:200]}",
                fix="give float32, from the data set or by data_preprocessor=dict(type='ImgDataPreprocessor', ...) for images",
            ) from error

    def _losses(self, inputs: Any, labels: Any) -> dict[str, Tensor]:
        if self.criterion is None:
            if not self._takes_labels or labels is None:
                self._run(inputs)  # taps read it
                return {}
            result = self._run(inputs, labels=labels)
            loss = result.get("loss") if isinstance(result, Mapping) else getattr(result, "loss", None)
            return {} if loss is None else {"loss_task": loss}
        if labels is None:
            raise UsageError(
                "the criterion needs labels, and the batch has none",
                where="TorchModel.labels",
                fix="say where they are: labels='...' or a position; or criterion=None for no loss",
            )
        output = self._output(self._run(inputs))
        try:
            return {"loss_task": self.criterion(output, labels)}
        except (TypeError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:200]}",
                where="TorchModel.criterion",
                got=f"output {describe(output)}, labels {describe(labels)}",
                fix="see what shape and type of labels it takes (a cross entropy: (B,) int64), and `labels=`, `output=`",
            ) from error

    def _output(self, result: Any) -> Any:
        if self.output is not None:
            return item(result, self.output, "TorchModel.net")
        if isinstance(result, Tensor):
            return result
        for name in ("logits", "out"):
            found = result.get(name) if isinstance(result, Mapping) else getattr(result, name, None)
            if isinstance(found, Tensor):
                return found
        if isinstance(result, list | tuple) and result and isinstance(result[0], Tensor):
            return result[0]
        raise UsageError(
            "the net's result is no tensor and has no 'logits'",
            where="TorchModel.output",
            got=describe(result),
            fix="say which part is meant: output='...' or an index",
        )


def _samples(output: Any, labels: Any) -> list[dict[str, Any]]:
    """Part a batch into one prediction a sample, under the names of mmpretrain's metrics."""
    if labels is None:
        return [{"pred_score": score} for score in output]
    if len(labels) != len(output):
        raise UsageError(
            f"the net answers for {len(output)} samples, and there are {len(labels)} labels",
            where="TorchModel",
            fix="check inputs=, labels= and output=",
        )
    return [
        {"pred_score": score, "gt_label": torch.atleast_1d(torch.as_tensor(label))}
        for score, label in zip(output, labels, strict=True)
    ]
