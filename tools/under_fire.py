"""Under fire: real training runs that are killed, damaged and starved at random moments, then resumed and compared.

Every round trains a toy student with `kdhub train`, lets one fault happen to it, types what the message says, and compares
weights, optimizer, schedules and evaluations of the finished run bit by bit with those of an unbroken run. One line of error
at most is allowed, a traceback never. Prints a tally; ends with 1 if a round failed.

Examples:
    python tools/under_fire.py
    python tools/under_fire.py 20 --only killed_while_saving flipped_byte
    python tools/under_fire.py 1 --only full_disk --seed 7 --keep fire
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from firing.faults import FAULTS
from firing.process import FailedError, MissedError
from firing.rounds import Reference, Round, compare, recover
from firing.training import LOOPS

_ATTEMPTS = 20
"""How often a round begins anew if the run was over before its fault."""


def main() -> int:
    """Play the rounds and print the tally."""
    args = _parser().parse_args()
    names = args.only or list(FAULTS)
    with contextlib.ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="under-fire-")))
        reference = Reference(folder.absolute())
        tally = {name: Counter[str]() for name in names}
        problems = []
        for number in range(args.rounds):
            chance = random.Random(f"{args.seed}-{number}")
            name = names[number % len(names)] if args.rounds < 2 * len(names) else chance.choice(names)
            outcome, problem = play(name, chance, reference, folder.absolute() / f"round-{number}")
            tally[name].update(outcome)
            if problem:
                problems.append(f"round {number} ({name}): {problem}")
                print(problems[-1], file=sys.stderr)
    if args.json:
        print(json.dumps({"seed": args.seed, "tally": tally, "problems": problems}, indent=2))
    else:
        _print(tally)
    return 1 if problems else 0


def play(name: str, chance: random.Random, reference: Reference, folder: Path) -> tuple[dict[str, int], str | None]:
    """Play one round.

    Returns:
        What to count (``times``, ``recovered``, ``exact``, each 0 or 1), and what was wrong.
    """
    function, processes = FAULTS[name]
    outcome = {"times": 1, "recovered": 0, "exact": 0}
    unbroken = reference.get(chance.choice(list(LOOPS)), processes)
    for attempt in range(_ATTEMPTS):
        run = Round(folder / str(attempt), unbroken.loop, processes, chance, unbroken.seconds, unbroken.checkpoint_size)
        run.folder.mkdir(parents=True)
        try:
            function(run)
            recover(run)
            outcome["recovered"] = 1
            compare(run, unbroken)
            outcome["exact"] = 1
        except MissedError:
            continue
        except FailedError as error:
            return outcome, f"{error} [{run.folder}]"
        return outcome, None
    return outcome, f"the fault did not happen in {_ATTEMPTS} attempts"


def _print(tally: dict[str, Counter[str]]) -> None:
    rows = [(name, *(counts[key] for key in ("times", "recovered", "exact"))) for name, counts in tally.items()]
    rows.append(("all", *(sum(row[column] for row in rows) for column in (1, 2, 3))))
    print(f"{'FAULT':24}{'TIMES':>8}{'RECOVERED':>12}{'EXACT':>8}")
    for name, times, recovered, exact in rows:
        print(f"{name:24}{times:8}{recovered:12}{exact:8}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=int, nargs="?", default=100, help="how many (default 100)")
    parser.add_argument("--only", nargs="+", choices=list(FAULTS), metavar="FAULT", help=f"of: {', '.join(FAULTS)}")
    parser.add_argument("--seed", type=int, default=0, help="decides the order of faults and their moments (default 0)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the folders of all runs there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
