"""A training with a live teacher that gets into trouble."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import ClassVar

from firing.config import LAST_CHECKPOINT, config_text
from firing.process import Process, require
from firing.rounds import Round, require_same_checkpoints

from kdhub.engine.workdir.work_dir import saved_checkpoints


@dataclass
class TrainingRound(Round):
    """A training with a live teacher that gets into trouble.

    Attributes:
        expected: Names of the checkpoints that the resume may begin at; empty for the newest one recorded.
    """

    name: ClassVar[str] = "training"
    expected: frozenset[str] = frozenset()

    def train(self, *options: str, file_limit: int | None = None) -> Process:
        """Prepare a process that trains, in the folder of the round."""
        config = self.folder / "config.py"
        config.write_text(config_text(self.loop, self.processes))
        arguments = ("train", str(config), "--work-dir", str(self.work_dir), *options)
        return self.typed(*arguments, processes=self.processes, file_limit=file_limit)

    def undisturbed(self) -> None:
        """Train."""
        self.timed(self.train())
        self.size = (self.work_dir / LAST_CHECKPOINT).stat().st_size

    def stop_somewhere(self) -> None:
        """Kill the run at a random moment after its second checkpoint."""
        with self.train() as process:
            while process.running() and len(self.recorded()) < 2:
                time.sleep(0.001)
            process.run_for(self.random.uniform(0, self.reference.seconds / 3))
            process.kill()

    def recorded(self) -> list[str]:
        """Return the names of the checkpoints that were acknowledged, the newest first."""
        return [path.name for path in saved_checkpoints(self.work_dir)]

    def way_on(self) -> str:
        """Return what the command must say that a message tells to go on with."""
        return "--resume" if self.recorded() else f"--work-dir {self.work_dir}"

    def recover(self) -> None:
        """Resume; where nothing was saved yet, start over."""
        if self.finished:
            return
        allowed = self.expected or frozenset(self.recorded()[:1])
        with self.train("--resume") as process:
            code = process.wait()
            if not allowed and code != 0:
                process.require_told("nothing to resume")
            else:
                require(code == 0, f"--resume ended with {code}: {process.console}")
                require(not process.errors(), f"an error in {process.console}")
                told = process.console.read_text()
                if "holds this run, finished" in told:
                    require((self.work_dir / "report.html").is_file(), "finished without a report")
                    return
                begun = re.search(r"resuming from .*/(\S+)", told)
                require(
                    begun and begun[1] in allowed, f"went on from {begun and begun[1]} instead of {sorted(allowed)}"
                )
                return
        self.done(self.train())

    def compare(self) -> None:
        """Demand the same weights, optimizer, schedules, and evaluations on the way."""
        require_same_checkpoints(self.work_dir / LAST_CHECKPOINT, self.reference.work_dir / LAST_CHECKPOINT)
        if not (self.work_dir / "run.damaged.json").exists():
            require(self._evaluations() == self.reference._evaluations(), "evaluations differ")

    def _evaluations(self) -> list[tuple[int, dict[str, float]]]:
        card = json.loads((self.work_dir / "run.json").read_text())
        return [(each["iteration"], each["metrics"]) for each in card["evaluations"]]
