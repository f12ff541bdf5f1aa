"""What a frozen side makes of documents: each is encoded once, whatever batch, step, evaluation or run it comes up in."""

from __future__ import annotations

import hashlib
import struct
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from kdhub.api import UsageError
from kdret.log import tell
from kdret.text_vectors import weights_fingerprint

_SPARSE = 4
"""A value of which at most every so-manieth number is not 0, such as SPLADE's, is kept as those numbers and their places."""
_PLACES, _NUMBERS, _WIDTH = ".places", ".numbers", ".width"
_HEAD = struct.Struct("<16sQI")
"""Before a record: the document's key, the record's length and its checksum."""

Value = dict[str, Tensor]
"""Name of an output to what one document has of it, on the CPU."""


class DocumentVectors:
    """Keeps what a frozen module makes of documents.

    A document is encoded alone, without padding and in float32. So its vectors do not depend on the batch that it comes up in
    first, and a run ends with the same numbers whether they were kept or are computed anew. (On a CPU that is no slower than a
    batch: a SPLADE model spends its time on the vocabulary's width, and none of it on padding.)

    Args:
        side: The frozen module. What was kept is dropped once its weights have changed, as by a checkpoint of another model.
        outputs: Names of what the encoder gives that is used, each ``(1, ...)`` of one document.
        folder: Where to keep them for later runs too; ``None`` keeps them in memory alone. Vectors of other weights are in other
            files there. Each process writes a file of its own and reads those of all.

    The teacher store of the core keeps values by the number of a sample, and an index keeps vectors by the id of a document. A
    model sees neither, so here they are kept by a document's tokens.
    """

    def __init__(self, side: nn.Module, outputs: Sequence[str], folder: str | Path | None = None) -> None:
        self._side = (side,)  # a tuple: it is the encoder's
        self._outputs = tuple(outputs)
        self._folder = None if folder is None else Path(folder).expanduser()
        self._kept: dict[bytes, Value] = {}
        # never a name that was there: behind what a stop cut off nothing more can be read
        self._name = uuid.uuid4().hex
        self._state: Any = None
        self._weights = ""
        self.encoded = 0
        """Documents that had to be encoded."""

    def of(
        self, features: Mapping[str, Any], encode: Callable[[dict[str, Any]], Mapping[str, Any]]
    ) -> dict[str, Tensor]:
        """Return the outputs for a column of tokens.

        Args:
            features: ``input_ids`` and ``attention_mask`` ``(N, T)``, and what else the encoder takes.
            encode: The encoder.

        Returns:
            Output to ``(N, ...)``, on the device of the tokens; what differs in length is padded with zeros.
        """
        self._look_at_weights()
        mask = features["attention_mask"].bool()
        ids = features["input_ids"]
        keys = [_key(ids[row][mask[row]]) for row in range(len(ids))]
        new: dict[bytes, Value] = {}
        for row, key in enumerate(keys):
            if key not in self._kept and key not in new:
                new[key] = self._encode(_alone(features, mask, row), encode)
        self._add(new)
        return {name: _joined([self._kept[key] for key in keys], name, ids.device) for name in self._outputs}

    def _encode(self, features: dict[str, Any], encode: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Value:
        device = features["input_ids"].device.type
        with torch.no_grad(), torch.autocast(device, enabled=False):
            found = encode(features)
        return {part: kept for name in self._outputs for part, kept in _compact(name, found[name][0].cpu())}

    def _add(self, new: dict[bytes, Value]) -> None:
        self._kept.update(new)
        self.encoded += len(new)
        if self._folder is None or not new:
            return
        folder = self._folder / self._weights
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / f"{self._name}.vectors").open("ab") as file:
                for key, value in new.items():
                    record = safetensors.torch.save(value)
                    file.write(_HEAD.pack(key, len(record), zlib.crc32(record)) + record)
        except OSError as error:
            raise UsageError("cannot keep the documents' vectors", where=str(folder), got=error.strerror) from error

    def _look_at_weights(self) -> None:
        """Drop what other weights made, and read what these made in earlier runs."""
        tensors = [*self._side[0].parameters(), *self._side[0].buffers()]
        state = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        if state == self._state:
            return
        self._state, weights = state, weights_fingerprint(self._side[0])[:16]
        if weights != self._weights:
            self._weights = weights
            self._kept = {} if self._folder is None else _read(self._folder / weights)


def _key(tokens: Tensor) -> bytes:
    return hashlib.blake2b(tokens.cpu().to(torch.int32).numpy().tobytes(), digest_size=16).digest()


def _alone(features: Mapping[str, Any], mask: Tensor, row: int) -> dict[str, Any]:
    """Take one text out of a column of tokens, without its padding."""
    found: dict[str, Any] = {}
    for name, value in features.items():
        if isinstance(value, Tensor) and value.shape[:2] == mask.shape:
            found[name] = value[row : row + 1, mask[row]]
        else:
            found[name] = value[row : row + 1] if isinstance(value, Tensor) and len(value) == len(mask) else value
    return found


def _compact(name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Part a value ``(V,)`` that is mostly 0 into places, numbers and width; leave any other as it is."""
    if value.ndim != 1 or int(value.count_nonzero()) * _SPARSE > len(value):
        yield name, value.clone()
        return
    places = value.nonzero()[:, 0]
    yield name + _PLACES, places.to(torch.int32)
    yield name + _NUMBERS, value[places]
    yield name + _WIDTH, torch.tensor(len(value))


def _joined(values: Sequence[Value], name: str, device: torch.device) -> Tensor:
    whole = [_whole(value, name) for value in values]
    if len({value.shape for value in whole}) == 1:
        return torch.stack(whole).to(device)
    return pad_sequence(whole, batch_first=True).to(device)


def _whole(value: Value, name: str) -> Tensor:
    if name in value:
        return value[name]
    numbers = value[name + _NUMBERS]
    return numbers.new_zeros(int(value[name + _WIDTH])).index_copy_(0, value[name + _PLACES].long(), numbers)


def _read(folder: Path) -> dict[bytes, Value]:
    """Read all records of a folder; from a damaged one on, such as a killed process leaves, a file is not read."""
    found: dict[bytes, Value] = {}
    for path in sorted(folder.glob("*.vectors")):
        data, start = path.read_bytes(), 0
        while start < len(data):
            try:
                key, length, check = _HEAD.unpack_from(data, start)
                start += _HEAD.size + length
                record = data[start - length : start]
                if len(record) < length or zlib.crc32(record) != check:
                    raise ValueError("damaged")
                found[key] = safetensors.torch.load(record)
            except (struct.error, ValueError, SafetensorError):
                tell(f"{path}: damaged near byte {start}; the documents from there on are encoded again", warn=True)
                break
    if found:
        tell(f"{folder}: vectors of {len(found)} documents")
    return found
