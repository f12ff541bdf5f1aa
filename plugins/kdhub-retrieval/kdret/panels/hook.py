"""`PanelHook`: quality against its cost, and the queries that gained and lost most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from kdhub.api import RunCard, UsageError, alone_beside, integer, require
from kdret.columns import DOCUMENT, QUERY
from kdret.metric import IRMetric
from kdret.panels.draw import draw_planes, points_of
from kdret.panels.queries import QueryResults, changed

FOLDER = "pictures"
NOW, BEFORE = "queries.json", "queries_before.json"
_COSTS = {
    "query_ms": "milliseconds a query, encoding and search",
    "active_document": "words with a weight, mean of the documents",
}


class PanelHook(Hook):
    """Puts into the report what one number hides; nothing is encoded or searched again for it.

    Quality against latency, if the evaluator has ``speed=True``, and against the non-zeros of sparse vectors: teachers, the
    student before training, the student alone, and the student. Two tables: the queries that gained most and those that lost most
    in the evaluator's first measure, with the judged passages and what both rankings have first. The student is compared with the
    student alone of ``kdhub train --alone``, if there is one, and else with itself before training.

    Args:
        count: Queries in each table at most.
        passages: First passages of each ranking that are shown.
        characters: Of a passage that are shown.

    Raises:
        UsageError: Before training, if no `kdret.IRMetric` evaluates.
    """

    priority = "LOW"

    def __init__(self, count: int = 5, passages: int = 2, characters: int = 300) -> None:
        require("PanelHook", integer(1), count=count, passages=passages, characters=characters)
        self.count = count
        self.passages = passages
        self.characters = characters

    def before_train(self, runner: Any) -> None:
        """Keep what the student found before training, if that was measured."""
        metric = self._metric(runner)
        baselines = runner.run_card.content.get("baselines") or {}
        # the student is the last to be measured before training, and a resumed run keeps what it found at its start
        if is_main_process() and not runner.resuming and metric.found is not None and baselines.get("student"):
            self._folder(runner).mkdir(exist_ok=True)
            metric.found.write(self._folder(runner) / BEFORE)

    def after_val_epoch(self, runner: Any, metrics: Mapping[str, float] | None = None) -> None:
        """Keep what the student found."""
        metric = self._metric(runner)
        if is_main_process() and metric.found is not None:
            self._folder(runner).mkdir(exist_ok=True)
            metric.found.write(self._folder(runner) / NOW)

    def after_train(self, runner: Any) -> None:
        """Draw the planes, and write the tables."""
        if not is_main_process():
            return
        beside = alone_beside(runner)
        alone = RunCard.read(beside) if beside is not None else None
        self._draw(runner, alone.content if alone is not None else {})
        now = QueryResults.read(self._folder(runner) / NOW)
        other, before = "student before", QueryResults.read(self._folder(runner) / BEFORE)
        if beside is not None and (found := QueryResults.read(beside / FOLDER / NOW)) is not None:
            other, before = "student alone", found
        if now is not None and before is not None and now.measure == before.measure:
            self._compare(runner, now, before, other)
        runner.run_card.write()

    def _metric(self, runner: Any) -> IRMetric:
        evaluator = getattr(runner, "val_evaluator", None)
        found = [one for one in getattr(evaluator, "metrics", ()) if isinstance(one, IRMetric)]
        if not found:
            raise UsageError(
                "PanelHook shows what kdret.IRMetric finds, and the run has none",
                where="custom_hooks",
                expected="val_evaluator=dict(type='kdret.IRMetric')",
            )
        return found[0]

    def _folder(self, runner: Any) -> Path:
        return Path(runner.work_dir, FOLDER)

    def _draw(self, runner: Any, alone: Mapping[str, Any]) -> None:
        metric = self._metric(runner)
        prefix = f"{metric.prefix}/" if metric.prefix else ""
        quality = next(iter(metric.measures))
        card = runner.run_card
        planes = {
            label: points
            for cost, label in _COSTS.items()
            if (points := list(points_of(card.content, alone, prefix + cost, prefix + quality)))
        }
        if not planes:
            return
        self._folder(runner).mkdir(exist_ok=True)
        path = self._folder(runner) / "cost.svg"
        draw_planes(planes, quality, path)
        card.add_picture(
            "Quality against what it costs", path, "Up is better, left is cheaper; measured on this machine."
        )

    def _compare(self, runner: Any, now: QueryResults, before: QueryResults, other: str) -> None:
        gained, lost = changed(now, before, self.count)
        shown = [*gained, *lost]
        qrels = runner.val_dataloader.dataset.metainfo["qrels"]
        relevant = {query: [key for key, score in qrels[query].items() if score > 0] for query in shown}
        documents = {key for query in shown for key in (*relevant[query], *now.best[query], *before.best[query])}
        texts = _texts(runner.val_dataloader.dataset, {QUERY: set(shown), DOCUMENT: documents})

        def passages(keys: Iterable[str]) -> str:
            found = (f"{key}: {self._short(texts[DOCUMENT].get(key, ''))}" for key in list(keys)[: self.passages])
            return " · ".join(found)

        columns = ["query", other, "student", "judged relevant", f"first for {other}", "first for student"]
        for word, queries in (("gained", gained), ("lost", lost)):
            rows = [
                [
                    f"{query}: {self._short(texts[QUERY].get(query, ''))}",
                    before.values[query],
                    now.values[query],
                    passages(relevant[query]),
                    passages(before.best[query]),
                    passages(now.best[query]),
                ]
                for query in queries
            ]
            if rows:
                caption = (
                    f"{now.measure} of each query; {len(rows)} of {len(now.values)} queries, largest difference first."
                )
                runner.run_card.add_table(f"Queries that {word} most against {other}", columns, rows, caption)

    def _short(self, text: str) -> str:
        line = " ".join(text.split())
        return line if len(line) <= self.characters else line[: self.characters - 1] + "…"


def _texts(dataset: Any, wanted: Mapping[str, set[str]]) -> dict[str, dict[str, str]]:
    """Read the texts of some ids out of a split."""
    found: dict[str, dict[str, str]] = {column: {} for column in wanted}
    for index in range(len(dataset)):
        sample = dataset[index]
        column, key = sample["key"]
        if key in wanted.get(column, ()):
            found[column][key] = str(next(iter(sample["texts"].values())))
    return found
