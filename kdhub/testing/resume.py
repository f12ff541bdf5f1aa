"""`assert_resume_exact`: a run that was killed and resumed ends bit for bit as the one that never stopped."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from kdhub.checkpoint import read_checkpoint
from kdhub.config.read.load import load_config
from kdhub.engine.workdir.run_card import RunCard
from kdhub.engine.workdir.work_dir import latest_checkpoint
from kdhub.testing.fresh_runs import Job, fresh_runs

_ENTRIES = ("message_hub", "evaluations", "state_dict", "optimizer", "param_schedulers", "ema_state_dict", "kdhub")
"""What is compared, in this order: the first loss that differs tells more than the weights that differ in the end."""

_ARRAYS = (torch.Tensor, np.ndarray)
_OF_THE_MOMENT = frozenset(
    {"time", "data_time", "memory", "seconds", "speed", "latency", "fps", "throughput"}  # the clock's
    | {"experiment_name", "mmengine_version"}  # counted in a process; the commit of the folder one stands in
)
"""Last parts of names whose values no two runs share."""


def assert_resume_exact(
    recipe: str | Path | Config,
    *,
    at: int,
    tmp_path: Path,
    cfg_options: Mapping[str, Any] | Sequence[str] = (),
    processes: int = 1,
    timeout: float = 600.0,
) -> None:
    """Train to the end; train again, die by SIGKILL right after a step, resume to the end; compare the two bit by bit.

    Each of the three runs has processes of its own. Compared are weights, optimizer, parameter schedulers, averaged
    weights, every logged number, random number generators, guards, and the evaluations in ``run.json``; not times.

    Args:
        recipe: Config file, ``"scope:recipe"`` or a config. Classes of a test's own come by its ``custom_imports``.
        at: Iterations after which the second run dies. One that is no multiple of the checkpoint interval is the harder
            test: what came after the last checkpoint is lost and done again.
        tmp_path: An empty folder; made if need be.
        cfg_options: Overrides, to make the run short: a few seconds and several checkpoints are enough. As for
            `kdhub.config.read.load.load_config`; a mapping if ``recipe`` is a config.
        processes: Number of processes, joined by gloo on the CPU.
        timeout: Seconds that one run may take.

    Raises:
        AssertionError: Naming the first thing that differs, or what kept a run from ending as it should.

    Example:
        ::

            def test_resume(tmp_path):
                options = {'train_cfg.max_iters': 6, 'default_hooks.checkpoint.interval': 2}
                assert_resume_exact('kdret:my_recipe', at=3, tmp_path=tmp_path, cfg_options=options)
    """
    if isinstance(recipe, Config):
        cfg = copy.deepcopy(recipe)
        cfg.merge_from_dict(dict(cfg_options) if isinstance(cfg_options, Mapping) else {})
    else:
        cfg = load_config(recipe, cfg_options)
    tmp_path.mkdir(parents=True, exist_ok=True)
    work_dir = tmp_path / "run"
    cfg.work_dir = str(work_dir)  # the same for both: its path is in what they save

    with fresh_runs(cfg, tmp_path / "imports.log") as run:
        run(Job(cfg, tmp_path / "unbroken.log", processes, timeout))
        work_dir.rename(tmp_path / "unbroken")
        run(Job(cfg, tmp_path / "killed.log", processes, timeout, dies_after=at))
        saved = latest_checkpoint(work_dir)
        if saved is None:
            raise AssertionError(
                f"the run saved no checkpoint within {at} iterations; set default_hooks.checkpoint.interval, or a later"
                " at"
            )
        begun = read_checkpoint(saved)["meta"]["iter"]
        run(Job(cfg, tmp_path / "resumed.log", processes, timeout, resumes=True))
    differing = list(_differences(_result(tmp_path / "unbroken"), _result(work_dir)))
    if differing:
        raise AssertionError(
            f"killed after iteration {at} and resumed from iteration {begun}, the run differs from the unbroken one in"
            f" {len(differing)} entries, first in {differing[0]}"
        )


def _result(work_dir: Path) -> dict[str, Any]:
    """Flatten what a run left."""
    checkpoint = latest_checkpoint(work_dir)
    card = RunCard.read(work_dir)
    if checkpoint is None or card is None:
        raise AssertionError(f"{work_dir} holds no checkpoint and run card to compare")
    content = {**read_checkpoint(checkpoint), "evaluations": card.content.get("evaluations", [])}
    return {name: leaf for entry in _ENTRIES for name, leaf in _leaves(content.get(entry), entry)}


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    last = name.rpartition(".")[2].rpartition("/")[2]
    if last in _OF_THE_MOMENT or last.endswith(("_per_second", "_ms")):
        return
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield from _leaves(entry, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, entry in enumerate(value):
            yield from _leaves(entry, f"{name}.{index}")
    elif isinstance(value, HistoryBuffer):
        for part, array in zip(("values", "counts"), value.data, strict=True):
            yield f"{name}.{part}", array
    else:
        yield name, value


def _differences(unbroken: Mapping[str, Any], resumed: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys((*unbroken, *resumed)):
        if name not in unbroken or name not in resumed:
            yield f"{name}, which only the {'unbroken' if name in unbroken else 'resumed'} run has"
            continue
        one, other = unbroken[name], resumed[name]
        if isinstance(one, _ARRAYS) and isinstance(other, _ARRAYS):
            yield from _array_differences(name, torch.as_tensor(one), torch.as_tensor(other))
        elif repr(one) != repr(other):  # unlike ==, it finds two NaN equal, and 1 and 1.0 not
            yield f"{name}: {one!r}, resumed {other!r}"


def _array_differences(name: str, one: torch.Tensor, other: torch.Tensor) -> Iterator[str]:
    if one.shape != other.shape or one.dtype != other.dtype:
        yield f"{name}: {one.dtype} {tuple(one.shape)}, resumed {other.dtype} {tuple(other.shape)}"
        return
    flat, others = one.reshape(-1), other.reshape(-1)
    # bits: a NaN equals itself, and -0.0 is not 0.0
    width = max(1, one.element_size())
    bits, other_bits = (values.contiguous().view(torch.uint8).reshape(-1, width) for values in (flat, others))
    places = (bits != other_bits).any(dim=1).nonzero()
    if len(places):
        first = int(places[0])
        yield f"{name}: {len(places)} of {len(flat)} values, number {first + 1} is {flat[first]}, resumed {others[first]}"
