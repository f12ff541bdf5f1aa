"""What a mining job works with, by names, so that each process that takes part loads it for itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Transformer

from kdret.data.beir import RetrievalData, load_split
from kdret.data.paths import find_data
from kdret.layers import set_max_length
from kdret.loading import absolute_model, load_teacher
from kdret.negatives import NegativeRules
from kdret.text_vectors import TextVectors


@dataclass(frozen=True, slots=True)
class MiningTask:
    """Models, data and rules; the arguments of `kdret.mining_job.mine` say what each means."""

    data_root: str
    split: str
    teacher: str
    rules: NegativeRules
    finder: str | None = None
    index: str | None = None
    max_length: int | None = None
    batch_size: int = 32

    def data(self) -> RetrievalData:
        """Read the split."""
        return load_split(self.data_root, self.split, judged=False)

    def model(self) -> Any:
        """Load the teacher, which cuts texts as it was told."""
        teacher = load_teacher(self.teacher)
        if self.max_length is not None:
            for module in teacher.modules():
                if isinstance(module, Transformer):
                    set_max_length(module, self.max_length)
        return teacher

    def vectors_of(self, teacher: Any) -> TextVectors | None:
        """Return the teacher's own vectors, neither scaled nor cut anew; ``None`` for a cross-encoder, which has none."""
        if isinstance(teacher, CrossEncoder):
            return None
        return TextVectors("", self.batch_size, teacher, similarity="dot")

    def searcher(self) -> TextVectors | None:
        """Load who finds the candidates, or return ``None`` where the teacher's own vectors do."""
        return TextVectors(self.finder or self.teacher, self.batch_size) if self.finder or self.index else None

    def absolute(self) -> MiningTask:
        """Return the same with paths that hold in any folder."""
        return replace(
            self,
            data_root=str(find_data(self.data_root).absolute()),
            teacher=absolute_model(self.teacher),
            finder=absolute_model(self.finder) if self.finder else None,
            index=str(Path(self.index).absolute()) if self.index else None,
        )
