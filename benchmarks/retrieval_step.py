"""The training step of a dense student with Margin-MSE: kdhub's `train` against sentence-transformers' trainer.

Both train the same random BERT of MiniLM's size, without dropout, on the same batches in the same order: a query, a relevant and
another document, and a teacher's two scores; AdamW at a constant rate, no clipping of gradients. What is timed is the time between
optimizer steps, with all that either does in between, such as loading, tokenising and logging. Both trainings run in each round, in random
order, and must have the same losses, or nothing is printed; the median of the rounds' ratios is quoted.

It needs the package `datasets`, without which the rival does not start: pip install '.[bench]'.

Usage: python benchmarks/retrieval_step.py [--steps 12] [--batch 16] [--rounds 3] [--layers 6] [--width 384] [--json]
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

warnings.filterwarnings("ignore")

import torch  # noqa: E402
import transformers  # noqa: E402
from figures import told, with_spread  # noqa: E402
from losses import deviation  # noqa: E402
from mmengine.config import Config  # noqa: E402
from sentence_transformers import SentenceTransformer  # noqa: E402
from sentence_transformers.sentence_transformer import modules  # noqa: E402
from sentence_transformers.sentence_transformer.losses import MarginMSELoss  # noqa: E402
from torch.optim.optimizer import register_optimizer_step_post_hook  # noqa: E402

import kdhub  # noqa: E402
from kdhub.api import train  # noqa: E402

WARM_UP = 3
"""Steps that are not timed."""
TOLERANCE = 1e-3
"""Relative difference of two losses: after some steps of AdamW, sums in another order have moved the weights apart."""
WORDS = [f"word{number}" for number in range(2000)]
RATE = 2e-5


@dataclass
class Watched:
    """What a training showed.

    Attributes:
        losses: The loss of each step.
        ends: When each step of the optimizer ended.
    """

    losses: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)

    def step_seconds(self) -> float:
        times = [after - before for before, after in zip(self.ends[WARM_UP - 1 :], self.ends[WARM_UP:], strict=False)]
        return statistics.median(times)


@contextmanager
def watched() -> Iterator[Watched]:
    """Watch steps and losses of whoever trains: both sides compute Margin-MSE in one method of one class."""
    seen = Watched()
    compute = MarginMSELoss.compute_loss_from_embeddings

    def told_loss(self: Any, embeddings: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        loss = compute(self, embeddings, labels)
        seen.losses.append(loss.item())
        return loss

    handle = register_optimizer_step_post_hook(lambda *_: seen.ends.append(time.perf_counter()))
    MarginMSELoss.compute_loss_from_embeddings = told_loss  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        MarginMSELoss.compute_loss_from_embeddings = compute  # type: ignore[method-assign]
        handle.remove()


def save_student(folder: Path, layers: int, width: int) -> str:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    torch.manual_seed(0)
    bert = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            intermediate_size=4 * width,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )
    bert.save_pretrained(folder / "bert")
    (folder / "bert/vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    transformer = modules.Transformer(str(folder / "bert"), max_seq_length=128)
    student = SentenceTransformer(modules=[transformer, modules.Pooling(width)], device="cpu")
    student.save(str(folder / "student"), create_model_card=False)
    return str(folder / "student")


@dataclass(frozen=True)
class Triple:
    """A query with a relevant and another document, and a teacher's scores of both."""

    query: str
    relevant: str
    other: str
    scores: tuple[float, float]


def triples(count: int) -> list[Triple]:
    chance = random.Random(0)

    def text(least: int, most: int) -> str:
        return " ".join(chance.choices(WORDS, k=chance.randint(least, most)))

    return [
        Triple(text(4, 12), text(20, 90), text(20, 90), (chance.gauss(6, 3), chance.gauss(0, 3))) for _ in range(count)
    ]


def write_data(folder: Path, rows: list[Triple]) -> None:
    def write(name: str, entries: Iterator[dict[str, Any]]) -> None:
        (folder / name).write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")

    numbered = list(enumerate(rows))
    write(
        "corpus.jsonl",
        (
            {"_id": f"{n}{side}", "title": "", "text": text}
            for n, row in numbered
            for side, text in (("r", row.relevant), ("o", row.other))
        ),
    )
    write("queries.train.jsonl", ({"_id": f"q{n}", "text": row.query} for n, row in numbered))
    write("qrels.train.jsonl", ({"query_id": f"q{n}", "doc_id": f"{n}r", "score": 1} for n, _ in numbered))
    write(
        "lists.jsonl",
        ({"query_id": f"q{n}", "doc_ids": [f"{n}r", f"{n}o"], "scores": list(row.scores)} for n, row in numbered),
    )


def with_kdhub(student: str, rows: list[Triple], batch: int, folder: Path) -> None:
    write_data(folder, rows)
    lists = {"type": "kdret.ScoredLists", "data_root": str(folder), "scores": "lists.jsonl", "candidates": 2}
    objective = {"loss": {"type": "kdret.MarginMSE"}, "student": "score", "batch": {"labels": "labels"}}
    steps = len(rows) // batch
    config = {
        "model": {
            "type": "kdhub.Distiller",
            "student": {"type": "kdret.SentenceEncoder", "model": student},
            "objectives": {"margins": objective},
        },
        "train_dataloader": {
            "batch_size": batch,
            "num_workers": 0,
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "collate_fn": {"type": "kdret.collate_texts"},
            "dataset": lists,
        },
        "train_cfg": {"by_epoch": False, "max_iters": steps},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": RATE, "weight_decay": 0.0}},
        "work_dir": str(folder / "run"),
        "randomness": {"seed": 0},
    }
    train(Config(config))


def with_trainer(student: str, rows: list[Triple], batch: int, folder: Path) -> None:
    try:
        from datasets import Dataset
    except ImportError as error:
        sys.exit(f"{error}: pip install '.[bench]'")
    from sentence_transformers.base.sampler import DefaultBatchSampler
    from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments
    from torch.utils.data import SequentialSampler

    model = SentenceTransformer(student, device="cpu")
    columns = {name: [getattr(row, name) for row in rows] for name in ("query", "relevant", "other")}
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder / "trainer"),
        per_device_train_batch_size=batch,
        num_train_epochs=1,
        batch_sampler=lambda data, **given: DefaultBatchSampler(SequentialSampler(data), **given),
        learning_rate=RATE,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=0.0,
        optim="adamw_torch",
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
    )
    SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict({**columns, "label": [list(row.scores) for row in rows]}),
        loss=MarginMSELoss(model),
    ).train()


VARIANTS: dict[str, Callable[[str, list[Triple], int, Path], None]] = {"kdhub": with_kdhub, "trainer": with_trainer}


def one_round(student: str, rows: list[Triple], batch: int, chance: random.Random) -> dict[str, float]:
    """Train with both, hold their losses against each other, and return the seconds of a step."""
    seen: dict[str, Watched] = {}
    for name in chance.sample(list(VARIANTS), len(VARIANTS)):
        with watched() as seen[name], tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
            VARIANTS[name](student, rows, batch, Path(folder))
    ours, theirs = (seen[name].losses for name in ("kdhub", "trainer"))
    # kdhub may compute a loss more at its start, to see what it is about to train
    ours = ours[len(ours) - len(theirs) :]
    if len(ours) != len(theirs) or not all(deviation(*pair) <= TOLERANCE for pair in zip(ours, theirs, strict=True)):
        sys.exit(f"the losses differ: {ours} and {theirs}")
    return {name: one.step_seconds() for name, one in seen.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help=f"of a training, the first {WARM_UP} not timed")
    parser.add_argument("--batch", type=int, default=16, help="triples in a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    kdhub.init()
    logging.disable(logging.WARNING)
    rows, chance = triples(options.steps * options.batch), random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        student = save_student(Path(folder), options.layers, options.width)
        rounds = [one_round(student, rows, options.batch, chance) for _ in range(options.rounds)]
    ratio = with_spread(rounds, lambda some: statistics.median(one["kdhub"] / one["trainer"] for one in some))
    milliseconds = {name: 1e3 * statistics.median(one[name] for one in rounds) for name in VARIANTS}
    if options.json:
        print(json.dumps({"ratio": ratio, "ms": milliseconds}))
        return
    print(
        f"time {told(ratio, '.3f')} of the trainer's ({milliseconds['kdhub']:.0f} and {milliseconds['trainer']:.0f} ms)"
    )


if __name__ == "__main__":
    main()
