"""Store what a teacher answers on the training data, so that training need not run it.

CONFIG is the config that is trained with; its teacher says where the store is and what to fill it with:
  teacher=dict(type='kdhub.StoredTeacher', store='stores/NAME', teacher=dict(type='kdhub.ModelTeacher', ...))
`kdhub train CONFIG` then answers from the store. What a store has already is checked and not computed again, so after
Ctrl-C, a crash or a full disk the same command goes on where it stopped. With validation in CONFIG the teacher is
evaluated too, for the reports of all runs from the store; default_hooks.baseline.teacher=False leaves it out.

Examples:
  kdhub cache configs/my_config.py
  kdhub cache configs/my_config.py --cfg-options train_dataloader.batch_size=64     the teacher's own batch size
  torchrun --nproc-per-node 2 -m kdhub cache configs/my_config.py --launcher pytorch
  kdhub cache info stores/my_teacher      what is in a store, how large, how exact, what its teacher reaches
  kdhub cache verify stores/my_teacher    check every record; exit code 1 if one is damaged
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdhub.cli.configs import LAUNCHERS, add_overrides, is_main_process, print_findings, typed, warn_of_plugins
from kdhub.cli.output import print_json
from kdhub.cli.parser import add_json
from kdhub.config.read.predecessors import located
from kdhub.errors import UsageError, near_matches
from kdhub.plugins import Switches

if TYPE_CHECKING:
    from kdhub.store import StoreInfo


_LOOKS = ("info", "verify")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "what", metavar="CONFIG|info|verify", help="config file or SCOPE:RECIPE to fill the stores of; or what to do"
    )
    parser.add_argument("store", metavar="STORE", nargs="?", help="folder of a store, after info or verify")
    add_overrides(parser)
    add_json(parser)
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="how several processes were started")
    # torchrun and torch.distributed.launch pass the one or the other
    parser.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)


def run(args: argparse.Namespace, switches: Switches) -> int:
    """Fill the stores of a config, or look at one."""
    if args.what in _LOOKS:
        if args.store is None:
            raise UsageError(f"kdhub cache {args.what}: no STORE", expected="the folder of a store")
        store = os.path.expanduser(args.store)
        return _info(store, args.json) if args.what == "info" else _verify(store, args.json)
    if args.store is not None:
        raise UsageError(
            f"kdhub cache: unexpected argument {args.store!r} after {args.what!r}",
            expected="CONFIG, info STORE or verify STORE",
            near=near_matches(args.what, _LOOKS),
        )
    if args.json:
        raise UsageError("kdhub cache: --json without info or verify", fix="kdhub cache info STORE --json")
    if Path(args.what, "manifest.json").is_file():
        raise UsageError(f"{args.what} is a store, not a config", fix=f"kdhub cache info {shlex.quote(args.what)}")
    return _fill(args, switches)


def _fill(args: argparse.Namespace, switches: Switches) -> int:
    from kdhub.config import check_config, load_config
    from kdhub.engine.libraries import import_library
    from kdhub.registry import init

    manager = init(switches)
    warn_of_plugins(manager)
    cfg = load_config(args.what, args.cfg_options, manager=manager)
    import_library(cfg)
    report = check_config(cfg, manager, deep=True)
    if is_main_process():
        # that the store is not there yet is why this command was typed
        warnings = [one for one in report.warnings if not one.path.endswith(".store")]
        print_findings([*report.errors, *warnings], sys.stderr)
    if not report.ok:
        return 2
    if args.local_rank is not None:
        os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    from kdhub.caching.fill import cache_teachers
    from kdhub.engine.report.commands import as_typed

    with as_typed(typed("cache", args.what, args, switches)):
        results = cache_teachers(located(cfg), launcher=args.launcher)
    if is_main_process():
        for result in results:
            done = f"{result.written} records written now" if result.written else "nothing to do, all records are there"
            print(f"teacher {result.teacher!r}: {done}")
            _print_info(result.path, result.info)
        # the teacher's batch size is no other training's business
        options = [one for one in args.cfg_options if not one.startswith("train_dataloader.batch_size=")]
        overrides = ["--cfg-options", *options] if options else []
        print("next:", shlex.join(["kdhub", "train", args.what, *switches.arguments(), *overrides]))
    return 0


def _info(path: str, as_json: bool) -> int:
    from kdhub.caching.metrics import describe_metrics
    from kdhub.store import store_info

    info = store_info(path)
    if as_json:
        print_json(_facts(path, info))
        return 0
    _print_info(path, info)
    manifest = info.manifest
    model = f"{manifest.model['type']}, {manifest.model['parameters']:,} parameters, " if manifest.model else ""
    print(f"  teacher        {model}{manifest.teacher}")
    print(f"  data           {manifest.data}")
    print(f"  preprocessing  {manifest.preprocessing}")
    augmentations = {
        "plain": "none",
        "recorded": f"{manifest.draws} recorded, seed {manifest.seed}",
        "unaugmented": "none for the teacher, any for the student",
    }
    print(f"  augmentations  {augmentations[manifest.mode]}")
    for entry in manifest.metrics.values():
        print(f"  validation     {describe_metrics(entry)}, {entry['data']}")
    return 0


def _facts(path: str, info: StoreInfo) -> dict[str, Any]:
    manifest = info.manifest
    return {
        "path": path,
        "records": info.records,
        "missing": info.missing,
        "bytes": info.bytes,
        "shards": info.shards,
        "blocks": info.blocks,
        "taps": {
            tap: {
                "precision": manifest.precision[tap],
                "record_bytes": info.record_bytes[tap],
                "errors": manifest.errors.get(tap, {}),
            }
            for tap in manifest.taps
        },
        **{name: getattr(manifest, name) for name in ("teacher", "data", "preprocessing", "mode", "draws", "seed")},
        "samples": manifest.samples,
        "model": manifest.model,
        "class_names": manifest.class_names,
        "metrics": list(manifest.metrics.values()),
    }


def _verify(path: str, as_json: bool) -> int:
    from kdhub.engine.report.console import data_size
    from kdhub.engine.report.progress import Progress
    from kdhub.store import store_info, verify

    with Progress("checking the store") as progress:
        damage = verify(path, progress.reach)
    if as_json:
        print_json({"path": path, "sound": not damage, "damage": list(map(str, damage))})
        return 1 if damage else 0
    for error in damage:
        print(error)
    if damage:
        return 1
    info = store_info(path)
    print(f"{path}: all {info.records} records, {data_size(info.bytes)}, are as they were written")
    return 0


def _print_info(path: str, info: StoreInfo) -> None:
    from kdhub.engine.report.console import data_size

    state = f"{info.missing} missing" if info.missing else "complete"
    each = data_size(info.bytes / max(1, info.records))
    print(f"{path}: {info.records} records, {state}; {data_size(info.bytes)}, {each} each, {_count(info.shards)}")
    for tap in info.manifest.taps:
        precision = info.manifest.precision[tap]
        cost = _cost(precision, info.manifest.errors.get(tap, {}))
        print(f"  {tap}: {precision}, {data_size(info.record_bytes[tap])} each, {cost}")


def _cost(precision: str, errors: Mapping[str, float]) -> str:
    """Say what a precision costs, as measured when the store was begun."""
    off = errors.get("max_abs", 0.0)
    if not off and precision == "float32":
        return "exact"
    told = f"off by at most {off:.2g}" if off else "exact"
    if "kl_mean" in errors:
        told += f"; softmax off by {errors['kl_mean']:.2g} nats on average, {errors['kl_max']:.2g} at most"
    return f"{told}, in {errors['samples']:g} samples spread over the data" if "samples" in errors else told


def _count(shards: int) -> str:
    return f"{shards} shard{'' if shards == 1 else 's'}"
