"""Evolutionary search for the student that DisWOT ranks first, within budgets; its state is its history, so it can be resumed."""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from kdcls.diswot import INITS, Knowledge, Score, draw_weights, is_finite, knowledge, score
from kdhub.api import UsageError, atomic_file, choice, integer, number, optional, preserved_randomness, require

FAILED = -9999.0
"""Score of a network that cannot run, or whose numbers overflow; the authors' value."""

_CANNOT_RUN = (RuntimeError, ValueError)
"""What a network raises that cannot run, such as one with a stage that leaves nothing of a map."""

_TRIES = 1000
"""Draws for one candidate within the budgets."""


@dataclass(frozen=True)
class Candidate:
    """A network of the space: blocks and channels of each stage."""

    layers: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Space:
    """Networks of stages: each has a number of blocks and of channels out of a few.

    Attributes:
        stages: Number of stages.
        depths: Numbers of blocks that a stage may have.
        widths: Numbers of channels that a stage may have; from stage to stage they do not fall.
    """

    stages: int
    depths: tuple[int, ...] = (1, 2, 3, 4)
    widths: tuple[int, ...] = (16, 24, 32, 48, 64, 96, 128, 192, 256)

    def __post_init__(self) -> None:
        require("Space", integer(1), stages=self.stages)
        for name, choices in (("depths", self.depths), ("widths", self.widths)):
            if not choices or list(choices) != sorted(set(choices)) or choices[0] < 1:
                raise UsageError(f"Space: bad {name}", expected="rising whole numbers from 1", got=repr(choices))

    def drawn(self, chance: random.Random) -> Candidate:
        """Draw a candidate."""
        layers = tuple(chance.choice(self.depths) for _ in range(self.stages))
        return Candidate(layers, tuple(sorted(chance.choice(self.widths) for _ in range(self.stages))))

    def mutated(self, parent: Candidate, chance: random.Random) -> Candidate:
        """Change the blocks or the channels of one stage."""
        stage = chance.randrange(self.stages)
        layers, channels = list(parent.layers), list(parent.channels)
        if chance.random() < 0.5:
            layers[stage] = _other(self.depths, layers[stage], chance)
        else:
            channels[stage] = _other(self.widths, channels[stage], chance)
        return Candidate(tuple(layers), tuple(sorted(channels)))

    @property
    def smallest(self) -> Candidate:
        """The candidate that every budget should admit."""
        return Candidate((self.depths[0],) * self.stages, (self.widths[0],) * self.stages)


def _other(choices: Sequence[int], now: int, chance: random.Random) -> int:
    others = [one for one in choices if one != now]
    return chance.choice(others) if others else now


@dataclass(frozen=True)
class Cost:
    """What a network takes for one image; ``None`` for a latency that nobody asked for."""

    parameters: int
    flops: int
    latency_ms: float | None = None


@dataclass(frozen=True)
class Budget:
    """Upper bounds of a network's cost; ``None`` bounds nothing.

    Attributes:
        parameters: Trained numbers.
        flops: Floating-point operations of convolutions and matrix products for one image, 2 for a multiplication and addition.
        latency_ms: Median time of one image on this machine's CPU. It is measured, so a search with this bound is not exactly repeatable.
    """

    parameters: int | None = None
    flops: int | None = None
    latency_ms: float | None = None

    def __post_init__(self) -> None:
        require("Budget", optional(integer(1)), parameters=self.parameters, flops=self.flops)
        require("Budget", optional(number(above=0)), latency_ms=self.latency_ms)

    def admits(self, cost: Cost) -> bool:
        """Whether a network is within all bounds."""
        bounds, taken = asdict(self), asdict(cost)
        return all(bound is None or taken[name] <= bound for name, bound in bounds.items())


@dataclass(frozen=True)
class Entry:
    """One evaluated candidate, a line of the history.

    Attributes:
        candidate: The network.
        cost: What it takes; ``None`` for one that cannot run.
        semantic: Mean over the seeds.
        relation: Mean over the seeds.
        total: Their sum, by which candidates are ranked; `FAILED` for one that gave no score.
        spread: Standard deviation of the sum over the seeds; 0 for one seed.
    """

    candidate: Candidate
    cost: Cost | None
    semantic: float
    relation: float
    total: float
    spread: float

    def line(self) -> str:
        """Write it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, line: str) -> Entry:
        """Read what `line` wrote."""
        values = json.loads(line)
        candidate = Candidate(**{name: tuple(value) for name, value in values.pop("candidate").items()})
        cost = values.pop("cost")
        return cls(candidate, Cost(**cost) if cost else None, **values)


class Scorer:
    """Scores candidates against a teacher, both with random weights, on one fixed batch.

    Args:
        make: Builds a candidate's network.
        make_teacher: Builds the teacher's.
        images: The batch, ``(B, C, H, W)``.
        labels: ``(B,)``.
        seeds: Seeds of the weights; scores are averaged over them, since a single draw is noisy.
        init: ``'normal'`` draws all weights from N(0, 1), as the authors rank; ``'own'`` keeps each network's own initialisation,
            for deep networks without norms, which N(0, 1) overflows. One choice for all candidates.

    Attributes:
        failure: Why the last candidate without a score has none; ``None`` while all have one.
    """

    def __init__(
        self,
        make: Callable[[Candidate], nn.Module],
        make_teacher: Callable[[], nn.Module],
        images: Tensor,
        labels: Tensor,
        seeds: Iterable[int] = (0,),
        init: str = "normal",
    ) -> None:
        require("Scorer", choice(INITS), init=init)
        self.make = make
        self.images = images
        self.labels = labels
        self.seeds = tuple(seeds)
        self.init = init
        self.failure: str | None = None
        self._teachers = [self._known(make_teacher, seed) for seed in self.seeds]

    def _known(self, make: Callable[[], nn.Module], seed: int) -> Knowledge:
        with preserved_randomness():
            torch.manual_seed(seed)
            net = make()
            if self.init == "normal":
                draw_weights(net)
            return knowledge(net, self.images, self.labels)

    def cost(self, candidate: Candidate, latency: bool = False) -> Cost | None:
        """Return what a candidate takes for one image, or ``None`` if it cannot run."""
        one = self.images[:1]
        try:
            with preserved_randomness():
                net = self.make(candidate).eval()
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                net(one)
        except _CANNOT_RUN as error:
            self.failure = f"{candidate}: {error}"
            return None
        parameters = sum(weight.numel() for weight in net.parameters())
        return Cost(parameters, counter.get_total_flops(), _latency_ms(net, one) if latency else None)

    def entry(self, candidate: Candidate, cost: Cost | None) -> Entry:
        """Score a candidate; one without a cost cannot run, and gets no score."""
        found = [] if cost is None else self._scores(candidate)
        if not found:
            return Entry(candidate, cost, FAILED, FAILED, FAILED, 0.0)
        totals = [one.total for one in found]
        return Entry(
            candidate,
            cost,
            statistics.fmean(one.semantic for one in found),
            statistics.fmean(one.relation for one in found),
            statistics.fmean(totals),
            statistics.stdev(totals) if len(totals) > 1 else 0.0,
        )

    def _scores(self, candidate: Candidate) -> list[Score]:
        """Return the scores by seed, or nothing if one of them is no finite number."""
        try:
            found = [
                score(self._known(lambda: self.make(candidate), seed), teacher)
                for seed, teacher in zip(self.seeds, self._teachers, strict=True)
            ]
        except _CANNOT_RUN as error:
            self.failure = f"{candidate}: {error}"
            return []
        if all(map(is_finite, found)):
            return found
        self.failure = f"{candidate}: its activations overflow"
        return []


def _latency_ms(net: nn.Module, image: Tensor, runs: int = 15) -> float:
    seconds = []
    with torch.no_grad():
        for number_ in range(runs + 3):
            begin = time.perf_counter()
            net(image)
            if number_ >= 3:
                seconds.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(seconds)


def evolve(
    scorer: Scorer,
    space: Space,
    budget: Budget,
    folder: Path,
    *,
    evaluations: int = 200,
    population: int = 36,
    tournament: int = 8,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Entry:
    """Search by aging evolution: the best of a few out of the last ``population`` candidates is mutated, and the oldest one leaves.

    The authors' script draws parents from the worst of a tournament; the card takes that for a mistake, and so does this.

    Args:
        scorer: Scores candidates.
        space: Where they come from.
        budget: What they may take; no other candidate is scored.
        folder: Keeps ``history.jsonl`` and ``search.json``. A search that was stopped goes on from there, and without a bound
            on latency it ends as one that was never stopped.
        evaluations: Candidates to score, those of earlier runs included.
        population: Candidates that are drawn at random first, and from whose last ones parents come.
        tournament: How many of them are drawn for one parent.
        seed: Seed of all draws.
        settings: What else the scores depend on, for the comparison when a search goes on.

    Returns:
        The best of the history; of equals the first.

    Raises:
        UsageError: If nothing in the space is within the budget, no candidate could be scored, or the folder holds another search.
    """
    require("evolve", integer(1), evaluations=evaluations, population=population, tournament=tournament)
    described = {"space": asdict(space), "budget": asdict(budget), "population": population, "tournament": tournament}
    _open(folder, described | {"seed": seed, "seeds": scorer.seeds, "init": scorer.init, **(settings or {})})
    history = read_history(folder)
    # the end of a line that was being written is gone
    _write(folder / "history.jsonl", "".join(f"{entry.line()}\n" for entry in history))
    known = {entry.candidate: entry for entry in history}
    with (folder / "history.jsonl").open("a", encoding="utf-8") as stream:
        for index in range(len(history), evaluations):
            # keyed by the index: what is drawn does not depend on where the search was stopped
            chance = random.Random(f"{seed}/{index}")
            candidate, cost = _within(scorer, space, budget, history[-population:], population, tournament, chance)
            entry = known.get(candidate) or scorer.entry(candidate, cost)
            known[candidate] = entry = replace(entry, cost=cost)
            history.append(entry)
            stream.write(f"{entry.line()}\n")
            stream.flush()
    best = max(history, key=lambda entry: entry.total)
    if best.total == FAILED:
        raise UsageError(
            f"none of {len(history)} students could be scored: each cannot run, or its activations overflow",
            where=str(folder / "history.jsonl"),
            got=scorer.failure,
            fix="build and run one student of the space by itself; take init='own' (--init own) if N(0, 1) overflows; then name"
            " another folder",
        )
    return best


def _within(
    scorer: Scorer,
    space: Space,
    budget: Budget,
    living: Sequence[Entry],
    population: int,
    tournament: int,
    chance: random.Random,
) -> tuple[Candidate, Cost | None]:
    for _ in range(_TRIES):
        if len(living) < population:
            candidate = space.drawn(chance)
        else:
            rivals = chance.sample(range(len(living)), min(tournament, len(living)))
            candidate = space.mutated(living[max(rivals, key=lambda one: living[one].total)].candidate, chance)
        cost = scorer.cost(candidate, latency=budget.latency_ms is not None)
        if cost is None or budget.admits(cost):  # one that cannot run is kept, as failed
            return candidate, cost
    smallest = scorer.cost(space.smallest, budget.latency_ms is not None)
    raise UsageError(
        f"{_TRIES} draws found no student within the budget",
        expected=f"{budget}",
        got=f"the smallest of the space {f'takes {smallest}' if smallest else 'cannot run'}",
        fix="raise the budget, or offer smaller depths and widths",
    )


def read_history(folder: Path) -> list[Entry]:
    """Return what a search has scored so far, in order."""
    path = folder / "history.jsonl"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [Entry.of(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _open(folder: Path, settings: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path, text = folder / "search.json", json.dumps(settings, indent=1, sort_keys=True)
    if not path.is_file():
        _write(path, text)
    elif path.read_text(encoding="utf-8") != text:
        old, new = json.loads(path.read_text(encoding="utf-8")), json.loads(text)
        differing = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
        raise UsageError(
            f"the folder holds a search with other settings: {', '.join(differing)}",
            where=str(folder),
            fix="name another folder, or move this one away",
        )


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as stream:
        stream.write(text.encode())
