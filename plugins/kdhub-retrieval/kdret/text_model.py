"""What kdret's four kinds of model share: how they are loaded, made shallower, and timed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, ClassVar

from mmengine.model import BaseModel
from torch import nn

from kdhub.api import integer, number, optional, require
from kdret.layers import first_module, freeze_documents, freeze_modules, keep_layers, set_dropout, set_max_length
from kdret.loading import load_text_model
from kdret.text_preprocessor import TextPreprocessor


class TextModel(BaseModel):
    """One of sentence-transformers' models as an mmengine model.

    Args:
        model: A folder, a name on the Hugging Face hub, or ``package://NAME/FOLDER``.
        layers: Transformer layers to keep, from 0, such as ``[0, 5]`` for a student of 2 layers that starts from those of
            its teacher; ``None`` keeps all.
        max_length: Texts are cut after this many tokens; ``None`` keeps the model's own limit. Saved with the student.
        freeze: Submodules of the transformer that do not train, such as ``embeddings.word_embeddings``.
        dropout: Probability for every dropout of the model while it trains; ``None`` keeps the model's own.
        score_scale: Factor of the scores that objectives tap.
        frozen_documents: Whether documents are encoded by a frozen copy of the model as it was loaded.
        init_cfg: Must stay ``None``: weights come with the model.

    Raises:
        UsageError: If the model cannot be loaded, has no such layers or modules, or if a value makes no sense.
    """

    model_class: ClassVar[type[nn.Module]]
    """The class of sentence-transformers that it wraps; `kdret.export` tells users to load the student with it."""
    preprocessor: ClassVar[type[TextPreprocessor]] = TextPreprocessor

    def __init__(
        self,
        model: str,
        layers: Sequence[int] | None = None,
        max_length: int | None = None,
        freeze: Sequence[str] = (),
        dropout: float | None = None,
        score_scale: float = 1.0,
        frozen_documents: bool = False,
        init_cfg: None = None,
    ) -> None:
        owner = type(self).__name__
        require(owner, number(above=0), score_scale=score_scale)
        require(owner, optional(integer(1)), max_length=max_length)
        encoder: Any = load_text_model(model, self.model_class)
        super().__init__(data_preprocessor=self.preprocessor(owner, encoder), init_cfg=init_cfg)
        self.encoder = encoder
        self._documents = (
            (freeze_documents(owner, encoder),) if frozen_documents else ()
        )  # a tuple: they are the encoder's
        if layers is not None:
            keep_layers(owner, encoder, list(layers))
        if max_length is not None:
            set_max_length(first_module(encoder), max_length)
        freeze_modules(owner, encoder, freeze)
        if dropout is not None:
            set_dropout(owner, encoder, dropout)
        self.score_scale = score_scale

    def train(self, mode: bool = True) -> TextModel:
        """Set the mode of all but a frozen side: its vectors must be those that an index holds, without dropout."""
        super().train(mode)
        for side in self._documents:
            side.eval()
        return self

    def val_step(self, data: Any) -> list[dict[str, Any]]:
        """Predict on a raw batch, and note how long each text took, tokenising included."""
        started = time.perf_counter()
        found = super().val_step(data)  # its embeddings are on the CPU, so the device has finished
        seconds = (time.perf_counter() - started) / max(len(found), 1)
        return [entry | {"seconds": seconds} for entry in found]

    test_step = val_step
