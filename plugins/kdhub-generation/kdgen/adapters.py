"""Adapters that tell a frozen network its guidance scale: AGD's two designs, hung on its blocks by forward hooks."""

from __future__ import annotations

import fnmatch
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kdhub.api import UsageError, choice, integer, near_matches, number, require


class Told:
    """What adapters know within one forward pass; outside of it they know nothing, and add nothing.

    Attributes:
        guidance: Guidance scales (B,), or ``None`` where adapters are off.
        time: What the network's own embedder says of the times (B, D), once it has.
        condition: What its embedder says of the condition (B, D), or of its tokens (B, N, D).
    """

    guidance: Tensor | None = None
    time: Tensor | None = None
    condition: Tensor | None = None

    def clear(self) -> None:
        """Forget everything: a scale left over would guide the next call."""
        self.guidance = self.time = self.condition = None


class ScalarEncoder(nn.Module):
    """Encodes a number (B,) as a vector (B, width): fixed random Fourier features, two layers, LayerNorm.

    Args:
        width: Width of the vector.
        scale: What the number is multiplied by. Frequencies are drawn from a unit Gaussian, so 1000 takes it almost for a hash, and 1
            or less for a smooth function.
    """

    _frequencies: Tensor
    _phases: Tensor

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("_frequencies", torch.randn(width))
        self.register_buffer("_phases", torch.rand(width))
        self.layers = nn.Sequential(
            nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width), nn.LayerNorm(width)
        )

    def forward(self, value: Tensor) -> Tensor:
        """Encode numbers (B,)."""
        angles = self.scale * value[:, None] * self._frequencies + self._phases
        encoded: Tensor = self.layers((2 * math.pi * angles).cos())
        return encoded


class _Adapter(nn.Module, ABC):
    """The base of both designs: it hears the network's own embeddings, and adds to the output of one block."""

    last: nn.Linear

    def __init__(self, told: Told, width: int, scale: float, time: int, condition: int) -> None:
        super().__init__()
        self.told = told
        self.encoder = ScalarEncoder(width, scale)
        self.time = nn.Linear(time, width) if time else None
        self.condition = nn.Linear(condition, width) if condition else None

    def tokens(self) -> list[Tensor]:
        """Return what it was told, as tokens (B, 1 or N, width)."""
        assert self.told.guidance is not None
        found = [self.encoder(self.told.guidance)[:, None]]
        for what, layer in (("time", self.time), ("condition", self.condition)):
            if layer is None:
                continue
            said = getattr(self.told, what)
            if said is None:
                raise UsageError(
                    "an adapter runs before the module that it hears",
                    where=f"adapters.{what}",
                    expected="adapters at blocks that run after it",
                    fix="leave out of adapters.at the blocks before it",
                )
            # an embedder may say one thing for the whole batch
            said = said.expand(len(found[0]), *said.shape[1:])
            found.append(layer(said if said.dim() == 3 else said[:, None]))
        return found

    @abstractmethod
    def offset(self, hidden: Tensor) -> Tensor:
        """Return what is added to the output (B, N, D) of the block."""

    def hook(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        """Add to what a block returned, or to the first of several values; a forward hook."""
        if self.told.guidance is None:
            return None
        first = output[0] if isinstance(output, tuple) else output
        picture = first.dim() == 4
        hidden = first.flatten(2).transpose(1, 2) if picture else first.reshape(len(first), -1, first.shape[-1])
        added = self.offset(hidden).expand_as(hidden)
        first = first + (added.transpose(1, 2) if picture else added).reshape(first.shape)
        return (first, *output[1:]) if isinstance(output, tuple) else first


class OffsetAdapter(_Adapter):
    """Adds one vector to all tokens, out of guidance, time and condition; it does not look at the tokens (AGD's ``additive``)."""

    def __init__(self, told: Told, features: int, width: int, scale: float, time: int, condition: int) -> None:
        super().__init__(told, width, scale, time, condition)
        self.first, self.norm, self.last = nn.Linear(width, width), nn.LayerNorm(width), nn.Linear(width, features)

    def offset(self, hidden: Tensor) -> Tensor:
        """Return the vector (B, 1, D)."""
        heard = torch.stack([one.mean(dim=1) for one in self.tokens()]).sum(dim=0)
        said: Tensor = self.last(self.norm(self.first(heard).relu()))
        return said[:, None]


class AttentionAdapter(_Adapter):
    """Lets each token attend over guidance, time and condition (AGD's ``attention``); one head."""

    def __init__(self, told: Told, features: int, width: int, scale: float, time: int, condition: int) -> None:
        super().__init__(told, width, scale, time, condition)
        self.query = nn.Linear(features, width, bias=False)
        self.key, self.value = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        for layer in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(layer.weight)
        self.last = nn.Linear(width, features)

    def offset(self, hidden: Tensor) -> Tensor:
        """Return a vector for each token (B, N, D)."""
        tokens = torch.cat(self.tokens(), dim=1)
        tokens = tokens + _positions(tokens)
        found = nn.functional.scaled_dot_product_attention(self.query(hidden), self.key(tokens), self.value(tokens))
        said: Tensor = self.last(found)
        return said


class Adapters(nn.Module):
    """The adapters of a network; its own modules, weights and keys stay as they are.

    Args:
        net: The network. Its blocks and embedders get forward hooks.
        at: Paths of the blocks, with ``*`` for any characters: ``hidden.*`` of `kdgen.MLP`, ``*.attn1`` of a DiT, ``*.attn2`` of
            Stable Diffusion's network.
        design: ``offset`` or ``attention``.
        width: Width of an adapter; 256 and 320 in the paper.
        scale: Factor of the guidance scale in its encoder; the released code takes 1000 for ``offset`` and 1 for ``attention``.
        time: Path of the module that embeds times, whose output adapters hear; ``None`` for deaf ones.
        condition: Path of the module that embeds the condition: classes, or the tokens of a text.

    Raises:
        UsageError: For a path that is none, or a module whose width cannot be told.
    """

    def __init__(
        self,
        net: nn.Module,
        at: Sequence[str] | str,
        design: str = "offset",
        width: int = 256,
        scale: float = 1.0,
        time: str | None = None,
        condition: str | None = None,
    ) -> None:
        super().__init__()
        require("adapters", choice(("offset", "attention")), design=design)
        require("adapters", integer(2), width=width)
        require("adapters", number(above=0), scale=scale)
        modules = dict(net.named_modules())
        patterns = [at] if isinstance(at, str) else list(at)
        names = [name for name in modules if any(fnmatch.fnmatchcase(name, one) for one in patterns)]
        if not names:
            raise UsageError(
                "no block has this path",
                where="adapters.at",
                got=", ".join(patterns),
                near=near_matches(patterns[0] if patterns else "", modules),
            )
        self.told, self._handles = Told(), []
        heard = {
            "time": self._listen(modules, "time", time),
            "condition": self._listen(modules, "condition", condition),
        }
        made = OffsetAdapter if design == "offset" else AttentionAdapter
        self.blocks = nn.ModuleDict()
        for name in names:
            adapter = made(self.told, _width(modules[name], name), width, scale, **heard)
            nn.init.zeros_(adapter.last.weight)  # the released code's flag for it is inverted; the card tells
            nn.init.zeros_(adapter.last.bias)
            self.blocks[name.replace(".", "-")] = adapter
            self._handles.append(modules[name].register_forward_hook(adapter.hook))

    @contextmanager
    def guided(self, guidance: Tensor) -> Iterator[None]:
        """Let adapters work within the block.

        Args:
            guidance: Guidance scales (B,).
        """
        self.told.guidance = guidance
        try:
            yield
        finally:
            self.told.clear()

    def remove(self) -> None:
        """Take the hooks off the network, which is then as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _listen(self, modules: Mapping[str, nn.Module], what: str, path: str | None) -> int:
        if path is None:
            return 0
        if path not in modules:
            raise UsageError(
                "no module has this path", where=f"adapters.{what}", got=path, near=near_matches(path, modules)
            )
        self._handles.append(modules[path].register_forward_hook(_Keeper(self.told, what).hook))
        return _width(modules[path], path)


class _Keeper:
    """Keeps what one embedder says. Its method is the hook, so that a copy of the network keeps it for the copy's adapters."""

    def __init__(self, told: Told, what: str) -> None:
        self.told, self.what = told, what

    def hook(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        """Keep it while adapters work; a forward hook."""
        if self.told.guidance is not None:
            setattr(self.told, self.what, output.detach())


def _width(module: nn.Module, path: str) -> int:
    """Return the width of what a module says: its own, or that of the last module inside that tells."""
    names = ("out_dim", "out_features", "embedding_dim", "out_channels")
    for one in (module, *reversed(list(module.modules()))):
        for name in names:
            if isinstance(width := getattr(one, name, None), int):
                return width
    raise UsageError(
        "nobody knows how wide the output of this module is",
        where=f"adapters: {path}",
        expected=f"a module with {', '.join(names)}, or with one inside",
        got=type(module).__name__,
    )


def _positions(tokens: Tensor) -> Tensor:
    """Return sines and cosines of the places of tokens (B, N, D) as (N, D)."""
    count, width = tokens.shape[1:]
    rates = torch.exp(torch.arange(0, width, 2, device=tokens.device) * (-math.log(10000.0) / width))
    angles = torch.arange(count, device=tokens.device)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)[:, :width]
