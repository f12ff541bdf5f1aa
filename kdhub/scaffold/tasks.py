"""The tasks that a new plugin can begin with: what its recipe is made of."""

from __future__ import annotations

from typing import NamedTuple


class Task(NamedTuple):
    """What differs between tasks beside their own templates.

    Attributes:
        summary: What the student does, for people.
        plugin: Distribution of the task's real models and data; empty if there is none.
        recipe: A recipe of that plugin to go on with.
        dataset: Class in ``data.py``.
        model: The model's config as Python text with a variable ``width``; ``@`` stands for the package.
        metric: The evaluator's ``type``; a class of the package's own begins with a dot.
        figure: The figure that the metric gives.
        tap: Arguments of the tap beside its type.
        ground: Folder of the templates that it shares with tasks of its kind: ``objective`` for a loss of `kdhub.Distiller`,
            ``generator`` for a method of kdhub-generation, which needs no data set, model or tap of its own.
        requires: What the plugin needs beside kdhub, as a line of ``dependencies``.
    """

    summary: str
    plugin: str
    recipe: str
    dataset: str
    model: str
    metric: str
    figure: str
    tap: str
    ground: str = "objective"
    requires: str = ""


def _net(criterion: str) -> str:
    return f"""dict(
    type="kdhub.TorchModel",
    net=dict(type="@.Net", width=width),
    criterion=dict({criterion}),
)"""


_CLASSES = _net('type="torch.nn.CrossEntropyLoss"')
_MAP = 'path="features", dim=[2, 3]'

TASKS = {
    "classification": Task(
        "tells the direction of noisy stripes",
        "kdhub-classification",
        "kdcls:digits-student",
        "Stripes",
        _CLASSES,
        "kdhub.Accuracy",
        "top1",
        _MAP,
    ),
    "segmentation": Task(
        "tells discs and squares from noise, pixel by pixel",
        "kdhub-segmentation",
        "kdseg:camvid-small",
        "Shapes",
        _CLASSES,
        ".MeanIoU",
        "mIoU",
        _MAP,
    ),
    "detection": Task(
        "finds the centres of discs and squares in noise",
        "kdhub-detection",
        "",
        "Centres",
        _net('type="torch.nn.BCEWithLogitsLoss", pos_weight=dict(type="torch.tensor", data=20.0)'),
        ".CentreAP",
        "centre_AP",
        _MAP,
    ),
    "text": Task(
        "tells the topic of a sequence of words",
        "kdhub-language",
        "",
        "Topics",
        _CLASSES,
        "kdhub.Accuracy",
        "top1",
        'path="features", dim=[1]',
    ),
    "retrieval": Task(
        "finds the document that a query was made of",
        "kdhub-retrieval",
        "kdret:docstrings-minilm",
        "Pairs",
        'dict(type="@.TwoTower", width=width)',
        ".MRR",
        "MRR",
        'path="features", dim=[1], call=1',
    ),
    "generation": Task(
        "samples points of a ring in one step, where its teacher takes many",
        "kdhub-generation",
        "kdgen:ring-swiftbrush",
        "",
        "",
        "kdgen.RingQuality",
        "sliced_w2",
        "",
        ground="generator",
        requires="kdhub-generation>=0.1.0.dev0,<0.2",
    ),
}
