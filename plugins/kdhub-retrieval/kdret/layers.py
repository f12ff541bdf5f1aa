"""A student out of a deep encoder: keep some transformer layers, freeze what need not move, set dropout."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sentence_transformers.base.modules import Router
from torch import nn

from kdhub.api import UsageError, integer, near_matches, number, require
from kdret.columns import DOCUMENT, QUERY


def keep_layers(owner: str, encoder: nn.Sequential, layers: Sequence[int]) -> None:
    """Keep these transformer layers of an encoder, in this order, and write the new depth into its configuration.

    Args:
        owner: Component that asks, for errors.
        encoder: One of sentence-transformers' models; changed in place.
        layers: Positions in the loaded model, from 0, ascending.

    Raises:
        UsageError: If a position does not exist, or the model has no plain stack of layers.
    """
    for position in layers:
        require(owner, integer(), layers=position)
    model = transformer(owner, encoder)
    depth = model.config.num_hidden_layers
    ascending = all(a < b for a, b in pairwise(layers))
    if not layers or not ascending or layers[0] < 0 or layers[-1] >= depth:
        raise UsageError(
            f"{owner}: bad layers", expected=f"ascending positions from 0 to {depth - 1}", got=str(list(layers))
        )
    stacks = [
        name for name, module in model.named_modules() if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    if len(stacks) != 1:
        raise UsageError(
            f"{owner}: cannot tell the layers of {type(model).__name__}",
            expected=f"one ModuleList of {depth} layers",
            got=", ".join(stacks) or "none",
            fix="leave `layers` out and give a shallower model",
        )
    parent, _, name = stacks[0].rpartition(".")
    owner = model.get_submodule(parent)
    setattr(owner, name, nn.ModuleList(getattr(owner, name)[position] for position in layers))
    model.config.num_hidden_layers = len(layers)
    kinds = getattr(model.config, "layer_types", None)
    if kinds:  # architectures that mix local and global attention build each layer by this list
        model.config.layer_types = [kinds[position] for position in layers]


def freeze_modules(owner: str, encoder: nn.Sequential, names: Sequence[str]) -> None:
    """Stop training of submodules, and of a pooler that nothing reads.

    Args:
        owner: Component that asks, for errors.
        encoder: One of sentence-transformers' models; changed in place.
        names: Submodules of the transformer, such as ``embeddings.word_embeddings``.

    Raises:
        UsageError: For a name that the transformer does not have.
    """
    model = transformer(owner, encoder)
    modules = dict(model.named_modules())
    for name in names:
        if name not in modules:
            raise UsageError(
                f"{owner}: {type(model).__name__} has no module {name!r} to freeze",
                near=near_matches(name, modules),
            )
        modules[name].requires_grad_(False)
    # pooling reads token embeddings, so BERT's own pooler never gets a gradient; distributed training would wait for it.
    # Removing it would make every later load warn of missing weights.
    pooler = modules.get("pooler")
    if pooler is not None:
        pooler.requires_grad_(False)


def set_dropout(owner: str, encoder: nn.Sequential, probability: float) -> None:
    """Set every dropout of an encoder; its saved configuration keeps what the model came with.

    Args:
        owner: Component that asks, for errors.
        encoder: One of sentence-transformers' models; changed in place.
        probability: From 0 up to, not including, 1.

    Raises:
        UsageError: For anything that is not such a probability.
    """
    require(owner, number(), dropout=probability)
    if not 0 <= probability < 1:
        raise UsageError(f"{owner}: bad dropout", expected="from 0 to below 1", got=repr(probability))
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability


def freeze_documents(owner: str, encoder: nn.Sequential) -> nn.Module:
    """Part an encoder into a side for queries and a frozen one for documents, as it stands; a parted one stays parted.

    Args:
        owner: Component that asks, for errors.
        encoder: One of sentence-transformers' models of two towers; changed in place.

    Returns:
        The documents' side.

    Raises:
        UsageError: If it is parted by something else.
    """
    router: Any = encoder[0]
    if not isinstance(router, Router):
        modules = list(encoder)
        router = Router.for_query_document(modules, copy.deepcopy(modules))
        del encoder[:]
        encoder.append(router)
    if DOCUMENT not in router.sub_modules or QUERY not in router.sub_modules:
        raise UsageError(
            f"{owner}: the model has no side for documents to freeze",
            expected="routes 'query' and 'document'",
            got=", ".join(map(repr, router.sub_modules)),
        )
    documents: nn.Module = router.sub_modules[DOCUMENT]
    return documents.requires_grad_(False)


def first_module(encoder: nn.Sequential) -> Any:
    """Return the module that reads texts; of an asymmetric model the one that reads queries."""
    first = encoder[0]
    return first.sub_modules[QUERY][0] if isinstance(first, Router) and QUERY in first.sub_modules else first


def set_max_length(module: Any, max_length: int) -> None:
    """Cut texts after so many tokens, and those of one side of a late-interaction model no later than before.

    Args:
        module: What reads texts; see `first_module`.
        max_length: Tokens.
    """
    module.max_seq_length = max_length
    for limit in ("query_length", "document_length"):  # the library takes these, if set, first
        own = getattr(module, limit, None)
        if own is not None:
            setattr(module, limit, min(own, max_length))


def transformer(owner: str, encoder: nn.Sequential) -> Any:  # a Module: of its attributes torch says Tensor | Module
    """Return the transformers model inside.

    Raises:
        UsageError: If there is none, as in static embeddings.
    """
    model = getattr(first_module(encoder), "auto_model", None)
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"{owner}: the model has no transformer inside", expected="a Transformer module first", got=str(encoder[0])
        )
    return model
