"""``kdhub index``: build an index of a corpus, look at it, search it."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from kdhub.api import Parser, UsageError, add_json, near_matches

TEXT = """Build an index of a corpus, look at it, search it.

The model may be dense, sparse or late-interaction; its folder says which. The index keeps the fingerprints of its model and corpus and
refuses others. `kdhub index build --help` explains the choice of an index.

Examples:
  kdhub index build data/cranfield --model work_dirs/demo/student --output indexes/cranfield     encode a corpus and index it
  kdhub index info indexes/cranfield                                what it is, and how much of the truth it finds
  kdhub index search indexes/cranfield "wing flutter"               ask it
  kdhub mine data/cranfield --teacher work_dirs/demo/student --index indexes/cranfield --output lists.jsonl
                                                                    mine negatives with it"""

BUILD = """Encode a corpus with a model and save an index of it.

Without --factory the index is chosen by the size of the corpus and the memory, and the reason is printed: exact search (Flat)
up to 2 million vectors; above, or where that does not fit, inverted lists with as exact vectors as fit; with --prefer speed a graph
(HNSW). The memory is printed first, and what cannot fit is refused. A sparse model (SPLADE) gets an exact inverted index. A
late-interaction model (ColBERT) gets an index of tokens, whose candidates are ranked by MaxSim.

An approximate index is tried against exact search, and its effort doubled until --recall is reached; `kdhub index info` shows it.

--index takes another kind, with its arguments as --options: kdret.SeismicIndex for millions of sparse vectors,
kdret.MilvusIndex for a server or a cluster. --workers 8 builds in shards on Ray, on this machine or the cluster that RAY_ADDRESS
names; all its machines must see DATA, MODEL and --output. The same command goes on with the shards that are missing.

After Ctrl-C the same command goes on where it stopped.

Examples:
  kdhub index build data/cranfield --model work_dirs/demo/student --output indexes/cranfield
  kdhub index build data/msmarco --model MODEL --output indexes/msmarco --memory 8
  kdhub index build data/msmarco --model MODEL --output indexes/graph --factory HNSW32 --recall 0.98
  kdhub index build data/msmarco --model MODEL --output indexes/milvus --index kdret.MilvusIndex --options uri=http://localhost:19530"""

INFO = """Show what an index is: kind, factory, size, and its recall against exact search.

Examples:
  kdhub index info indexes/cranfield
  kdhub index info indexes/cranfield --json"""

SEARCH = """Ask a saved index, with the model and the corpus that it was built from.

Examples:
  kdhub index search indexes/cranfield "heat transfer in a boundary layer"
  kdhub index search indexes/cranfield "wing flutter" --top 3 --json"""


def main(argv: list[str]) -> int:
    """Run one of the three; return the exit code."""
    actions = {"build": _build, "info": _info, "search": _search}
    if argv[:1] and argv[0] in actions:
        return actions[argv[0]](argv[1:])
    parser = Parser("index", TEXT)
    parser.add_argument("action", nargs="?", help="build, info or search")
    # what follows a misspelt action is not what is wrong
    action = parser.parse(argv[:1]).action
    raise UsageError(
        "kdhub index: no action" if action is None else f"kdhub index: no action {action!r}",
        expected="build, info or search",
        near=near_matches(action or "", actions),
        fix="see `kdhub index --help`",
    )


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose an index."""
    parser.add_argument("--factory", help="FAISS's factory string, such as Flat or IVF4096,SQ8 (default: chosen)")
    parser.add_argument("--prefer", help="accuracy, or speed for a graph (default accuracy)")
    parser.add_argument(
        "--memory", type=float, metavar="GIB", help="memory that may be used (default 80%% of what is free)"
    )
    parser.add_argument("--recall", type=float, help="share of the true best 10 to be found (default 0.95)")
    parser.add_argument("--effort", type=int, help="nprobe of lists, efSearch of a graph (default: measured)")
    parser.add_argument(
        "--candidates", type=int, help="late interaction: tokens that each token of a query looks at (default 256)"
    )


def choice_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return what `add_choice` read; ``None`` leaves a default."""
    return {name: getattr(options, name) for name in ("factory", "prefer", "memory", "recall", "effort", "candidates")}


def _build(argv: list[str]) -> int:
    from mmengine.config import DictAction

    parser = Parser("index build", BUILD)
    parser.add_argument("data", help="folder in BEIR's layout, such as data/cranfield; only its corpus is read")
    parser.add_argument("--model", required=True, help="folder, name on the hub, or package://NAME/FOLDER")
    parser.add_argument("--output", required=True, help="folder of the index")
    add_choice(parser)
    parser.add_argument("--index", metavar="TYPE", help="another kind of index, such as kdret.MilvusIndex")
    parser.add_argument(
        "--options", metavar="KEY=VALUE", nargs="+", action=DictAction, default={}, help="its arguments"
    )
    parser.add_argument(
        "--workers", type=int, help="build in shards, so many at once, on Ray; RAY_ADDRESS names a cluster"
    )
    parser.add_argument("--shard-rows", type=int, default=1_000_000, help="documents of a shard (default 1000000)")
    parser.add_argument("--batch-size", type=int, default=64, help="texts encoded at once (default 64)")
    parser.add_argument("--seed", type=int, help="of the samples for training and recall (default 0)")
    parser.add_argument("--rebuild", action="store_true", help="replace an index that is there")
    add_json(parser)
    options = parser.parse(argv)

    from kdhub.api import integer, require, say
    from kdret.corpus_index import about_of, build_index, texts_of
    from kdret.data.corpus import load_corpus
    from kdret.data.paths import find_data
    from kdret.index.base import DESCRIPTION, read_description, require_about
    from kdret.kept_vectors import FINGERPRINTS
    from kdret.loading import absolute_model
    from kdret.text_vectors import TextVectors

    require("kdhub index build", integer(1), **{"--batch-size": options.batch_size})
    output = Path(options.output)
    _require_usable(output, DESCRIPTION)
    root = find_data(options.data)
    corpus = load_corpus(root)
    vectors = TextVectors(absolute_model(options.model), options.batch_size)
    seed = options.seed if vectors.kind == "dense" or options.index else None
    if options.workers is not None:
        return _build_shards(options, vectors, str(root.absolute()))
    index = vectors.new_index(options.index, **{**choice_of(options), "seed": seed, **options.options})
    about = about_of(vectors, corpus)
    if (output / DESCRIPTION).is_file() and not options.rebuild:
        description = read_description(output)
        require_about(description["about"], {key: about[key] for key in FINGERPRINTS}, output)
        factory = description["settings"].get("factory")
        if description["kind"] != index.kind:
            raise UsageError(
                "an index of another kind is there",
                where=str(output),
                expected=index.kind,
                got=description["kind"],
                fix="add --rebuild to replace it",
            )
        if options.factory not in (None, factory):
            raise UsageError(
                "an index with another factory is there",
                where=str(output),
                got=str(factory),
                fix="add --rebuild to replace it",
            )
        say("this index is there already, of the same model and corpus")
    else:
        about |= {"model_name": vectors.model, "data": str(root.absolute())}
        build_index(output, vectors, texts_of(corpus), index, about, shlex.join(["kdhub", "index", "build", *argv]))
    _show(output, options.json)
    return 0


def _build_shards(options: argparse.Namespace, vectors: Any, data: str) -> int:
    from kdhub.api import say
    from kdret.cluster import build_shards
    from kdret.corpus_index import about_of
    from kdret.data.corpus import load_corpus
    from kdret.index.base import DESCRIPTION, read_description, require_about

    given = {**choice_of(options), "seed": options.seed, **options.options}
    chosen = {key: value for key, value in given.items() if value is not None}
    chosen["type"] = options.index or ("kdret.SparseIndex" if vectors.kind == "sparse" else "kdret.FaissIndex")
    output = Path(options.output).absolute()
    if (output / DESCRIPTION).is_file() and not options.rebuild:
        description = read_description(output)
        if description["kind"] != "sharded":
            raise UsageError(
                "an index of another kind is there",
                where=options.output,
                expected="sharded",
                got=description["kind"],
                fix="add --rebuild to replace it",
            )
        require_about(description["about"], about_of(vectors, load_corpus(data)), output)
        say("this index is there already, of the same model and corpus")
    else:
        # beside it: what is there stays until the new one stands, and shards that are done outlive a stop
        building = output.with_name(f".{output.name}.shards")
        build_shards(building, vectors.model, data, options.shard_rows, options.workers, chosen, options.batch_size)
        shutil.rmtree(output, ignore_errors=True)
        building.rename(output)
    _show(Path(options.output), options.json)
    return 0


def _info(argv: list[str]) -> int:
    parser = Parser("index info", INFO)
    parser.add_argument("index", help="folder of an index")
    add_json(parser)
    options = parser.parse(argv)
    _show(Path(options.index), options.json)
    return 0


def _search(argv: list[str]) -> int:
    parser = Parser("index search", SEARCH)
    parser.add_argument("index", help="folder of an index")
    parser.add_argument("query", help='what to look for, such as "wing flutter"')
    parser.add_argument("--top", type=int, default=10, help="number of answers (default 10)")
    parser.add_argument("--data", help="folder of the corpus (default: where it was when the index was built)")
    parser.add_argument("--model", help="the model it was built with, if that has moved")
    add_json(parser)
    options = parser.parse(argv)

    from kdret.commands.search import print_hits
    from kdret.index.base import read_description
    from kdret.search import search

    read_description(Path(options.index))  # a run's folder is for `kdhub search`
    hits = search(options.index, options.query, top=options.top, data=options.data, model=options.model)
    print_hits(hits, options.json)
    return 0


def _require_usable(folder: Path, description: str) -> None:
    others = folder.is_dir() and any(folder.iterdir())
    if folder.is_file() or (others and not (folder / description).is_file()):
        raise UsageError(
            "the folder for the index is in use",
            where=str(folder),
            expected="a new folder, or one with an index",
            got="a file" if folder.is_file() else ", ".join(sorted(path.name for path in folder.iterdir())[:3]),
            fix="choose another --output",
        )


def _show(folder: Path, as_json: bool) -> None:
    from kdhub.api import data_size, printable
    from kdret.index.base import read_description

    description = read_description(folder)
    settings, about = description["settings"], description["about"]
    recall = settings.get("recall")
    # an index in shards lists only what describes each of them
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    facts = {
        "folder": str(folder),
        "kind": description["kind"],
        "documents": description["documents"],
        "similarity": description["similarity"],
        **{key: value for key, value in settings.items() if key not in ("recall", "finder")},
        "recall": recall,
        "bytes": size,
        "model": about.get("model_name"),
        "data": about.get("data"),
    }
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    exact = (
        "1 (exact)"
        if recall is None
        else f"{recall['value']:.3f} @{recall['k']} on {recall['queries']} {recall['kind']}"
    )
    shown = {**facts, "recall": exact, "bytes": data_size(size)}
    for key, value in shown.items():
        if value not in (None, 0, False):
            print(f"{key:<11} {printable(str(value))}")
