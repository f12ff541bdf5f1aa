"""`explained`: what goes wrong outside of kdhub's own code, in one line that says where, what and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdhub.engine.faults.building import building_fault, key_path_of
from kdhub.engine.faults.plugin_code import plugin_fault
from kdhub.engine.faults.processes import FROM_WORKER, process_fault
from kdhub.engine.faults.samples import loading_fault
from kdhub.engine.report.commands import cache_command
from kdhub.errors import KdhubError, PluginError, UsageError
from kdhub.files import NO_SPACE, FullDiskError, storage_error

_CACHE = "kdhub cache CONFIG"
"""All that a store can say; the run knows which config, and with which overrides."""


@contextmanager
def explained(cfg: Mapping[str, Any], again: Callable[[], str]) -> Iterator[None]:
    """Turn faults of processes, disks, samples and of the parts of a config into one line; a defect keeps its traceback.

    Args:
        cfg: The config that is built and used in the block, complete.
        again: Says what to type to go on, or to try again; asked once something has happened.

    Raises:
        UsageError: For such a fault.
        PluginError: For what a plugin's code raises.
    """
    try:
        yield
    except Exception as error:
        try:
            told = _explained(error, cfg, again)
        except RuntimeError as late:  # torch's signal handler tells of a dead worker wherever we are, once for each
            told = process_fault(late, again())
        if told is None:
            raise
        raise told from error


def _explained(error: Exception, cfg: Mapping[str, Any], again: Callable[[], str]) -> UsageError | PluginError | None:
    if isinstance(error, FullDiskError):
        fix = f"{error.fix}; to go on: {again()}"
        return UsageError(error.what, where=error.where, got=error.got, fix=fix)
    if not isinstance(error, KdhubError):
        if told := process_fault(error, again()):
            return told
        if told := _storage_fault(error, cfg):
            return _explained(told, cfg, again) or told
        return loading_fault(error) or plugin_fault(error, cfg) or building_fault(error, cfg)
    # raised inside a loss or adapter, which is blamed
    blamed = error.__cause__ if isinstance(error, UsageError | PluginError) else None
    if isinstance(blamed, RuntimeError | MemoryError) and (told := process_fault(blamed, again())):
        return told
    if not isinstance(error, UsageError):
        return None
    if FROM_WORKER.match(error.what):  # torch puts the worker's whole traceback in front
        return UsageError(error.what.strip().splitlines()[-1].partition(": ")[2])
    if _CACHE in (error.fix or ""):
        error.replace_fix(str(error.fix).replace(_CACHE, cache_command(cfg)))
    where = None if error.where else key_path_of(error, cfg)
    return error.at(where) if where else None


def _storage_fault(error: Exception, cfg: Mapping[str, Any]) -> UsageError | None:
    """Say that a log or curve could not be written, which is done far from any of our own code."""
    if not isinstance(error, OSError) or not cfg.get("work_dir"):
        return None
    work_dir = Path(cfg["work_dir"]).absolute()
    if error.filename:
        path = Path(str(error.filename)).absolute()
        return storage_error(path, error) if work_dir in path.parents else None
    return storage_error(work_dir / "the logs", error) if error.errno in NO_SPACE else None
