"""Writing a safetensors file piece by piece; the library itself writes only what is in memory as a whole.

The format: the length of the header (8 bytes, little-endian), the header (JSON, padded with blanks to a multiple of 8), and
the bytes of the tensors without gaps. As the library does, tensors of wider types come first, which aligns them all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import BinaryIO

import torch

Layout = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
"""Name to type and shape of each tensor."""

_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def begin(stream: BinaryIO, layout: Layout, metadata: Mapping[str, str]) -> dict[str, int]:
    """Write what stands before the tensors.

    Args:
        stream: An empty file.
        layout: The tensors to come.
        metadata: What the file tells besides.

    Returns:
        For each tensor the position in the file from which on its bytes must be written, in any order.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    offsets: dict[str, int] = {}
    end = 0
    for name in sorted(layout, key=lambda name: (-layout[name][0].itemsize, name)):
        dtype, shape = layout[name]
        offsets[name], end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _TYPES[dtype], "shape": list(shape), "data_offsets": [offsets[name], end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    stream.write(len(text).to_bytes(8, "little") + text)
    return {name: 8 + len(text) + offset for name, offset in offsets.items()}
