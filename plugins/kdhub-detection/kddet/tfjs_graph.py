"""A frozen graph of TensorFlow.js as a torch module: what convolutional networks in such files are made of."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kdhub.api import UsageError

_DTYPES = {"float32": np.float32, "float16": np.float16, "int32": np.int32}


class TFJSGraph(nn.Module):
    """Runs the part of a graph that leads to some of its nodes.

    Args:
        file: ``model.json`` of a graph model; its binary files lie beside it.
        outputs: Names of the nodes to compute.

    Raises:
        UsageError: If the files cannot be read, or the graph needs an operation that is not here.
    """

    def __init__(self, file: str | Path, outputs: Sequence[str]) -> None:
        super().__init__()
        path = Path(file)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            nodes = {node["name"]: node for node in content["modelTopology"]["node"]}
            constants = _constants(path.parent, content["weightsManifest"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                "not a graph model of TensorFlow.js", where=str(path), got=f"{type(error).__name__}: {error}"
            ) from error
        self.outputs = tuple(outputs)
        self._nodes = _needed(nodes, self.outputs, str(path))
        self._integers: dict[str, list[int]] = {}
        self.weights = nn.ParameterDict()
        for node in self._nodes:
            if node["op"] == "Const":
                self._keep(node["name"], constants[node["name"]])
        for node in self._nodes:
            if "Conv2" in node["op"]:
                self._turn(node)

    def _keep(self, name: str, value: np.ndarray[Any, Any]) -> None:
        if value.dtype == np.int32:
            self._integers[name] = value.reshape(-1).tolist()
        else:
            self.weights[_key(name)] = nn.Parameter(torch.from_numpy(value.astype(np.float32)))

    def _turn(self, node: Mapping[str, Any]) -> None:
        """Lay a kernel out as torch has it."""
        kernel = self.weights[_key(node["input"][1])]
        # (h, w, in, out), and (h, w, in, times) for depthwise ones
        order = (2, 3, 0, 1) if "Depthwise" in node["op"] else (3, 2, 0, 1)
        kernel.data = kernel.data.permute(order).contiguous()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the outputs of images ``(B, C, H, W)``; feature maps stay in this order of axes."""
        values: dict[str, Tensor] = {}
        for node in self._nodes:
            if node["op"] == "Placeholder":
                values[node["name"]] = images
            elif node["op"] != "Const":
                values[node["name"]] = self._run(node, values)
        return {name: values[name] for name in self.outputs}

    def _run(self, node: Mapping[str, Any], values: Mapping[str, Tensor]) -> Tensor:
        names, op = node["input"], node["op"]
        given = [
            values[name] if name in values else self._constant(name) for name in names if name not in self._integers
        ]
        if "Conv2" in op:
            return _convolution(node, *given)
        if op in ("Add", "AddV2"):
            return given[0] + given[1]
        if op == "Mul":
            return given[0] * given[1]
        if op == "Mean":  # over height and width
            return given[0].mean((2, 3), keepdim=True)
        if op == "ConcatV2":  # along channels
            return torch.cat(given, 1)
        if op == "ResizeBilinear":
            return _doubled(_doubled(given[0], 2), 3)
        return _SIMPLE[op](given[0])

    def _constant(self, name: str) -> Tensor:
        value: Tensor = self.weights[_key(name)]
        return value


_SIMPLE: dict[str, Callable[[Tensor], Tensor]] = {
    "Relu": functional.relu,
    "Relu6": functional.relu6,
    "Sigmoid": torch.sigmoid,
    "Identity": lambda x: x,
}
_KNOWN = {"Const", "Placeholder", "Add", "AddV2", "Mul", "Mean", "ConcatV2", "ResizeBilinear", *_SIMPLE} | {
    "Conv2D",
    "_FusedConv2D",
    "DepthwiseConv2dNative",
    "FusedDepthwiseConv2dNative",
}


def _key(name: str) -> str:
    return name.replace(".", "_")


def _constants(folder: Path, manifest: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    found = {}
    for group in manifest:
        data = b"".join((folder / name).read_bytes() for name in group["paths"])
        position = 0
        for weight in group["weights"]:
            kept = np.dtype(_DTYPES[weight.get("quantization", weight)["dtype"]])
            size = math.prod(weight["shape"]) * kept.itemsize
            found[weight["name"]] = np.frombuffer(data[position : position + size], kept).reshape(weight["shape"])
            position += size
        if position != len(data):
            raise ValueError(f"{len(data)} bytes of weights, where {position} are described")
    return found


def _needed(nodes: Mapping[str, Mapping[str, Any]], outputs: Sequence[str], where: str) -> list[Mapping[str, Any]]:
    """Order the nodes that the outputs depend on, each after its inputs."""
    ordered: dict[str, Mapping[str, Any]] = {}
    waiting = list(reversed(outputs))
    while waiting:
        name = waiting[-1]
        if name not in nodes:
            raise UsageError("the graph has no such node", where=where, got=name)
        node = nodes[name]
        missing = [one for one in node.get("input", ()) if one not in ordered]
        if name in ordered or not missing:
            ordered[name] = node
            waiting.pop()
            continue
        waiting.extend(missing)
    if unknown := sorted({node["op"] for node in ordered.values()} - _KNOWN):
        raise UsageError("the graph has operations that are not known here", where=where, got=", ".join(unknown))
    return list(ordered.values())


def _convolution(node: Mapping[str, Any], images: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    attributes = node["attr"]
    stride = [int(value) for value in attributes["strides"]["list"]["i"][1:3]]
    if _text(attributes["padding"]["s"]) == "SAME":
        sizes = zip(images.shape[2:], kernel.shape[2:], stride, strict=True)
        (top, bottom), (left, right) = (_padding(*one) for one in sizes)
        images = functional.pad(images, (left, right, top, bottom))
    groups = images.shape[1] if "Depthwise" in node["op"] else 1
    result = functional.conv2d(images, kernel, bias, stride, groups=groups)
    activation = [_text(one) for one in attributes.get("fused_ops", {}).get("list", {}).get("s", ())][1:]
    return _SIMPLE[activation[0]](result) if activation else result


def _padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    whole = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return whole // 2, whole - whole // 2


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


def _doubled(images: Tensor, axis: int) -> Tensor:
    """Double an axis as TensorFlow does without half-pixel centres: every second value is an old one."""
    last = images.narrow(axis, images.shape[axis] - 1, 1)
    following = torch.cat((images.narrow(axis, 1, images.shape[axis] - 1), last), axis)
    return torch.stack((images, (images + following) / 2), axis + 1).flatten(axis, axis + 1)
