"""What a checkpoint holds beyond mmengine's, so that a resumed run is bit for bit the run that was never interrupted."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.dist import all_gather_object, get_rank, get_world_size
from torch import Tensor, nn

from kdhub.engine.models import teachers_of
from kdhub.engine.resume.buffers import buffer_checksums, restore_buffers, unsaved_buffers
from kdhub.engine.resume.comparison import same
from kdhub.engine.resume.fitness import left_out, named_wrappers, optimizer_types, require_resumable
from kdhub.engine.resume.loops import KdhubEpochLoop, Resumable
from kdhub.engine.resume.readable import readable
from kdhub.engine.resume.sampling import KeyedDataset, SkippingBatches
from kdhub.engine.resume.saving import METAINFO, metainfo_of, to_cpu
from kdhub.inner import unwrapped
from kdhub.rng import generator_states, seed_generators, set_generator_states

KEY = "kdhub"
"""Where a checkpoint holds this state, beside mmengine's own keys."""


def collect_state(runner: Any) -> dict[str, Any]:
    """Gather what resuming exactly needs; all processes must call it together.

    Returns:
        Plain values and tensors: ``data`` (position, seeds, and what would change it), ``evaluated_at``,
        ``optimizers`` (their classes), ``backward_passes`` of each, ``teachers`` (what they decided or learned), and for each process under ``processes`` its generators, its guards, and
        the buffers in which its model differs from the main process's or which training changed and no state dict holds.
        Without a loop of kdhub's, ``data`` and ``evaluated_at`` are missing.
    """
    loop = runner.train_loop
    state: dict[str, Any] = {"processes": all_gather_object(_state_of_process(runner))}
    if isinstance(loop, Resumable):
        state["evaluated_at"] = loop.evaluated_at
        state["data"] = {"passes": loop.batches.passes, "done": loop.batches.done, **_data_facts(loop)}
    state["teachers"] = {name: own for name, one in teachers_of(runner.model).items() if (own := one.state())}
    state["optimizers"] = optimizer_types(runner.optim_wrapper)
    state["backward_passes"] = [wrapper._inner_count for _, wrapper in named_wrappers(runner.optim_wrapper)]
    return state


def check_checkpoint(runner: Any, checkpoint: Mapping[str, Any], where: str) -> None:
    """See, before anything is loaded, that a run can go on from a checkpoint, and say what of it will begin anew.

    Raises:
        UsageError: If it cannot.
    """
    require_resumable(runner.optim_wrapper, checkpoint, where, checkpoint.get(KEY, {}).get("optimizers", {}))
    for part in left_out(runner, checkpoint):
        _warn(runner, part)
    meta = checkpoint["meta"]
    if same(to_cpu(meta.get("dataset_meta") or {}), to_cpu(readable(metainfo_of(runner), METAINFO))):
        # mmengine compares pickles, and would warn of what was saved in another form
        meta["dataset_meta"] = getattr(runner.train_dataloader.dataset, "metainfo", None)


def restore_state(runner: Any, state: Mapping[str, Any] | None) -> None:
    """Put a run where its checkpoint was taken, as far as mmengine does not; random numbers follow with the first batch.

    What stands in the way of going on exactly is said in one warning each.

    Args:
        runner: The runner, with its train loop built and epoch and iteration restored.
        state: What `collect_state` gave; ``None`` for a checkpoint that has none.
    """
    for name, own in (state or {}).get("teachers", {}).items():
        teachers_of(runner.model)[name].load_state(own)
    loop = runner.train_loop
    if not isinstance(loop, Resumable):
        _warn(runner, f"{type(loop).__name__} is not a loop of kdhub's: where it stood in its data is not known")
        return
    if state is None or "data" not in state:
        _warn(runner, "the checkpoint does not say where random numbers and training data stood")
        loop.evaluated_at = loop.iter
        passes, done = _guessed_position(loop)
        loop.batches.enter(passes, done)
        return
    loop.evaluated_at = state["evaluated_at"]
    data = state["data"]
    same_loop = data["counts"] == loop.counts
    loop.batches.enter(*((data["passes"], data["done"]) if same_loop else _guessed_position(loop)))
    _restore_seeds(loop.dataloader, data)
    for change in _changes(data, _data_facts(loop)):
        _warn(runner, change)
    processes = state["processes"]
    if len(processes) != get_world_size():
        _warn(runner, f"{len(processes)} processes wrote the checkpoint and {get_world_size()} go on")
    own = processes[get_rank()] if get_rank() < len(processes) else {}
    _restore_model(runner, own)
    loop.finish_resuming = functools.partial(_finish_resuming, runner, own.get("generators"), state["backward_passes"])


def _finish_resuming(runner: Any, generators: dict[str, Any] | None, backward_passes: list[int]) -> None:
    if generators is None:  # a process that did not exist before
        seed_generators(runner.seed, runner.iter, get_rank())
    else:
        set_generator_states(generators)
    # mmengine counts on from the iterations, as if each had one backward pass
    for (_, wrapper), count in zip(named_wrappers(runner.optim_wrapper), backward_passes, strict=True):
        wrapper._inner_count = count


def accumulating(optim_wrapper: Any) -> bool:
    """Whether gradients are accumulated but not applied yet: no checkpoint holds those."""
    return not all(wrapper.should_update() for _, wrapper in named_wrappers(optim_wrapper))


def _state_of_process(runner: Any) -> dict[str, Any]:
    model = unwrapped(runner.model)
    # a checkpoint written within an evaluation must not hold what that drew
    generators = getattr(runner.train_loop, "left_generators", None) or generator_states()
    state: dict[str, Any] = {"generators": generators}
    if guards := getattr(model, "guard_state", None):
        state["guards"] = guards()
    state["buffers"] = {name: buffer.detach().cpu() for name, buffer in _buffers_to_save(model, runner).items()}
    return state


def _buffers_to_save(model: nn.Module, runner: Any) -> dict[str, Tensor]:
    """Find what training changed outside of the state dict, and what differs from the main process."""
    unsaved = unsaved_buffers(model)
    # constants stay those of the config, which may change on resume
    changed = {
        name for name, checksum in buffer_checksums(unsaved).items() if runner.first_buffers.get(name) != checksum
    }
    buffers = dict(model.named_buffers())
    if get_world_size() > 1:
        checksums = buffer_checksums(buffers)
        main = all_gather_object(checksums)[0]
        changed |= {name for name in buffers if checksums[name] != main.get(name)}
    return {name: buffer for name, buffer in buffers.items() if name in changed}


def _restore_model(runner: Any, own: Mapping[str, Any]) -> None:
    model = unwrapped(runner.model)
    if "guards" in own and (load := getattr(model, "load_guard_state", None)):
        load(own["guards"])
    for name in restore_buffers(model, own.get("buffers", {})):
        _warn(runner, f"the buffer {name} has another shape now, so it begins anew")


def _data_facts(loop: Resumable) -> dict[str, Any]:
    """Tell what training data are and how they come; a run without a seed in its config drew its seeds when it began."""
    loader: Any = loop.dataloader
    facts = {"counts": loop.counts, "described": loop.data_facts, "seed": None, "sampler_seed": None}
    if not isinstance(loader.dataset, KeyedDataset):
        return {**facts, "batches": None, "batch_size": loader.batch_size}
    sampler_seed = getattr(getattr(loader.batch_sampler, "sampler", None), "seed", None)
    return {
        **facts,
        "seed": loader.batch_sampler.seed,
        "sampler_seed": sampler_seed,
        "batches": len(loader.batch_sampler),
        "batch_size": getattr(loader.batch_sampler, "batch_size", None),
    }


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Say what keeps training data from going on as they would have."""
    if before["described"] != now["described"]:
        yield f"the training data were {_in_words(before['described'])} and are now {_in_words(now['described'])}"
    if before["batch_size"] != now["batch_size"]:
        yield f"a batch had {before['batch_size']} samples and has {now['batch_size']} now, so other samples come together"
    if before["batches"] != now["batches"]:
        yield "the number of training batches has changed, so the data goes on at another sample"
    if before["counts"] != now["counts"]:
        yield f"the checkpoint counted {before['counts']} and this run counts {now['counts']}"


def _in_words(facts: Mapping[str, Any]) -> str:
    size = f" of {facts['size']} samples" if "size" in facts else ""
    return f"{facts['type']}{size}" + (f" ({facts['fingerprint']})" if "fingerprint" in facts else "")


def _restore_seeds(loader: Any, data: Mapping[str, Any]) -> None:
    if not isinstance(loader.batch_sampler, SkippingBatches) or data["seed"] is None:
        return
    loader.batch_sampler.seed = data["seed"]
    if not loader.dataset.fixed:  # otherwise a store says with which seed
        loader.dataset.seed = loader.collate_fn.seed = data["seed"]
    if data["sampler_seed"] is not None:
        loader.batch_sampler.sampler.sampler.seed = data["sampler_seed"]


def _guessed_position(loop: Resumable) -> tuple[int, int]:
    if isinstance(loop, KdhubEpochLoop):
        return loop.epoch, 0
    batches = _data_facts(loop)["batches"]
    return divmod(loop.iter, batches) if batches else (0, loop.iter)


def _warn(runner: Any, reason: str) -> None:
    runner.logger.warning(f"the run goes on, but not exactly as if it had never stopped: {reason}")
