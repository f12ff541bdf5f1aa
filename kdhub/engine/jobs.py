"""Jobs: steps of a method that are no training, such as proposals, projections or the answers of a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from kdhub.checkpoint import safe_loading
from kdhub.engine.defaults import add_common_defaults
from kdhub.engine.distributed import decided_by_main_process, process_group
from kdhub.engine.faults.explained import explained
from kdhub.engine.hooks.interrupt import Interrupted
from kdhub.engine.report.commands import resume_command
from kdhub.engine.report.console import say
from kdhub.engine.workdir.identity import experiment
from kdhub.engine.workdir.lock import folder_lock
from kdhub.engine.workdir.run_card import RunCard, now
from kdhub.engine.workdir.work_dir import make_work_dir, require_same_experiment
from kdhub.errors import UsageError
from kdhub.files import plain
from kdhub.registry import build


def run_job(cfg: Config, launcher: str = "none") -> dict[str, Any]:
    """Do the job of a config, ``job = dict(type='scope.Name', ...)``, unless it is done.

    A job is a function of a plugin, with a parameter ``folder`` and its inputs. It runs in the main process. What it finds in
    the folder is its own, from a run with the same inputs that was stopped: it may go on from there. What it returns, a
    dict of plain values or ``None``, is kept in ``run.json``.

    Args:
        cfg: The config; ``work_dir`` is the folder.
        launcher: As in `kdhub.engine.train.train`.

    Returns:
        What the function returned, now or when it was done.

    Raises:
        UsageError: If the folder holds another job, or an input is missing or unknown; and for a full disk or memory that ran out.
        PluginError: For what the function's code raises.
    """
    add_common_defaults(cfg)
    folder = Path(cfg.work_dir).absolute()
    again = resume_command(folder)
    with process_group(cfg, launcher), safe_loading(), explained(cfg, lambda: again):
        return decided_by_main_process(lambda: _do(cfg, folder))


def _do(cfg: Config, folder: Path) -> dict[str, Any]:
    make_work_dir(folder)
    described = experiment(cfg)
    with folder_lock(folder):
        require_same_experiment(folder, described)
        card = RunCard.read(folder) or RunCard(folder)
        if card.content.get("status") != "finished":
            card.content |= {
                "status": "running",
                "experiment": described,
                "job": str(cfg.job.get("type")),
                "begun": now(),
            }
            card.write()
            say(f"job {card.content['job']}, in {folder}")
            try:
                results = build("job", cfg.job.to_dict(), where="job", folder=folder)
            except KeyboardInterrupt:
                raise Interrupted(
                    "stopped; the job finds what it has done", fix=f"to go on: {resume_command(folder)}"
                ) from None
            if not isinstance(results, Mapping | None):
                raise UsageError("a job returned no dict of results", where="job", got=repr(results)[:80])
            card.content |= {"status": "finished", "ended": now(), "results": plain(dict(results or {}))}
            card.write()
        else:
            say(f"{folder} holds this job, done on {card.content['ended'][:10]}")
        return dict(card.content["results"])
