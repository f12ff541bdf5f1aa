"""Store what a teacher answers on the training data, so that training need not run it.

CONFIG is the config that is trained with; its teacher is dict(type='kdhub.StoredTeacher', store='stores/NAME',
teacher=<the live teacher>). What a store has already is not computed again, so a killed run goes on where it stopped.

Examples:
  kdhub cache configs/my_config.py
  kdhub cache configs/my_config.py --cfg-options train_dataloader.batch_size=64     the teacher's own batch size
  torchrun --nproc-per-node 2 tools/cache_teacher.py configs/my_config.py --launcher pytorch
  kdhub cache info stores/my_teacher      what is in a store, how large, how exact
  kdhub cache verify stores/my_teacher    check every record; exit code 1 if one is damaged
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kdhub.cli.configs import LAUNCHERS, add_overrides, is_main_process, print_findings, warn_of_plugins
from kdhub.errors import UsageError
from kdhub.plugins import Switches

if TYPE_CHECKING:
    from kdhub.store import StoreInfo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "what", metavar="CONFIG|info|verify", help="config file or SCOPE:RECIPE to fill the stores of; or what to do"
    )
    parser.add_argument("store", metavar="STORE", nargs="?", help="folder of a store, after info or verify")
    add_overrides(parser)
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="how several processes were started")
    # torchrun and torch.distributed.launch pass the one or the other
    parser.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)


def run(args: argparse.Namespace, switches: Switches) -> int:
    """Fill the stores of a config, or look at one."""
    if args.what in ("info", "verify"):
        if args.store is None:
            raise UsageError(f"kdhub cache {args.what}: no STORE", expected="the folder of a store")
        return _info(args.store) if args.what == "info" else _verify(args.store)
    if args.store is not None:
        raise UsageError(f"kdhub cache: unexpected argument {args.store!r}", fix="see `kdhub cache --help`")
    return _fill(args, switches)


def _fill(args: argparse.Namespace, switches: Switches) -> int:
    from kdhub.config import check_config, load_config
    from kdhub.config.load import run_custom_imports
    from kdhub.registry import init

    manager = init(switches)
    warn_of_plugins(manager)
    cfg = load_config(args.what, args.cfg_options, manager=manager, custom_imports=False)
    report = check_config(cfg, manager)
    if not report.ok:
        if is_main_process():
            print_findings(report, sys.stderr)
        return 1
    run_custom_imports(cfg.get("custom_imports"))
    if args.local_rank is not None:
        os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    from kdhub.engine.caching import cache_teachers

    results = cache_teachers(cfg, launcher=args.launcher)
    if is_main_process():
        for result in results:
            print(f"teacher {result.teacher!r}: {result.written} records written now")
            _print_info(result.path, result.info)
        print(f"next: kdhub train {args.what}")
    return 0


def _info(path: str) -> int:
    from kdhub.store import store_info

    info = store_info(path)
    _print_info(path, info)
    manifest = info.manifest
    print(f"  teacher        {manifest.teacher}")
    print(f"  data           {manifest.data}")
    print(f"  preprocessing  {manifest.preprocessing}")
    augmentations = f"{manifest.draws} recorded, seed {manifest.seed}" if manifest.mode == "recorded" else "none"
    print(f"  augmentations  {augmentations}")
    return 0


def _verify(path: str) -> int:
    from kdhub.engine.caching_progress import CachingProgress
    from kdhub.store import store_info, verify

    with CachingProgress("checking the store", unit="blocks") as progress:
        damage = verify(path, progress.reach)
    for error in damage:
        print(error)
    if damage:
        return 1
    info = store_info(path)
    print(f"{path}: all {info.records} records are as they were written")
    return 0


def _print_info(path: str, info: StoreInfo) -> None:
    state = f"{info.missing} missing" if info.missing else "complete"
    each = info.bytes / max(1, info.records)
    print(f"{path}: {info.records} records, {state}; {_size(info.bytes)}, {_size(each)} each, {_count(info.shards)}")
    for tap in info.manifest.taps:
        precision, cost = info.manifest.precision[tap], _cost(info.manifest.errors.get(tap, {}))
        print(f"  {tap}: {precision}, {_size(info.record_bytes[tap])} each, {cost}")


def _cost(errors: Mapping[str, float]) -> str:
    """Say what a precision costs, as measured on the first batches."""
    if not errors.get("max_abs"):
        return "exact"
    told = f"off by at most {errors['max_abs']:.2g}"
    if "kl_mean" in errors:
        told += f"; softmax off by {errors['kl_mean']:.2g} nats on average, {errors['kl_max']:.2g} at most"
    return told


def _count(shards: int) -> str:
    return f"{shards} shard{'' if shards == 1 else 's'}"


def _size(number: float) -> str:
    """Write a number of bytes as a person would."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.3g} {unit}" if unit != "bytes" else f"{number:.0f} bytes"
        number /= 1024
    return f"{number:.3g} GiB"
