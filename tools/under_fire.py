"""Under fire: real trainings and real fillings of teacher stores, killed, damaged and starved at random moments.

Every round begins `kdhub train` on a toy student or on the roles of a one-step generator, or `kdhub cache` and the training from that store, lets one fault
happen to it, types what the message says, and compares what comes out bit by bit with an undisturbed round: weights,
optimizer, schedules and evaluations, and the values of the store. One line of error at most is allowed, a traceback never.
Nothing that was acknowledged may be lost or computed again. Prints a tally; ends with 1 if a round failed.

Examples:
    python tools/under_fire.py 100
    python tools/under_fire.py 20 --only killed_while_saving flipped_byte_in_store
    python tools/under_fire.py 60 --of store --seed 3
    python tools/under_fire.py 50 --of roles
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

import firing.roles_round
import firing.store_faults
import firing.training_faults  # noqa: F401 - all fill the table
from firing.config import LOOPS
from firing.process import FailedError, MissedError, UnplayableError
from firing.rounds import References
from firing.table import FAULTS

from kdhub.errors import KdhubError

_ATTEMPTS = 20
"""How often a round begins anew if the run was over before its fault."""


def main() -> int:
    """Play the rounds and print the tally."""
    args = _parser().parse_args()
    chosen = args.only or [name for name, fault in FAULTS.items() if args.of in (None, fault.kind.name)]
    with contextlib.ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="under-fire-")))
        references = References(folder.absolute())
        tally = {name: Counter[str]() for name in chosen}
        problems = []
        for number in range(args.rounds or len(chosen)):
            chance = random.Random(f"{args.seed}-{number}")
            name = chosen[number % len(chosen)]
            outcome, problem = play(name, chance, references, folder.absolute() / f"round-{number}")
            tally[name].update(outcome)
            if problem:
                problems.append(f"round {number} ({name}): {problem}")
                print(problems[-1], file=sys.stderr, flush=True)
    if args.json:
        print(json.dumps({"seed": args.seed, "tally": tally, "problems": problems}, indent=2))
    else:
        _print(tally)
    return 1 if problems else 0


def play(name: str, chance: random.Random, references: References, folder: Path) -> tuple[dict[str, int], str | None]:
    """Play one round.

    Returns:
        What to count (``times``, ``recovered``, ``exact``, each 0 or 1), and what was wrong.
    """
    fault = FAULTS[name]
    outcome = {"times": 1, "recovered": 0, "exact": 0}
    loop = chance.choice(list(LOOPS))
    reference = references.get(fault.kind, loop, fault.processes)
    for attempt in range(_ATTEMPTS):
        try:
            run = fault.kind(folder / str(attempt), loop, fault.processes, chance, reference)
            run.folder.mkdir(parents=True)
            fault.play(run)
            run.recover()
            outcome["recovered"] = 1
            run.compare()
            outcome["exact"] = 1
        except MissedError:
            continue
        except UnplayableError as error:
            print(f"{name} cannot be played here: {error}", file=sys.stderr)
            return {}, None
        except (FailedError, KdhubError, OSError, LookupError, ValueError) as error:
            return outcome, f"{error} [{folder / str(attempt)}]"
        return outcome, None
    return outcome, f"the fault did not happen in {_ATTEMPTS} attempts"


def _print(tally: dict[str, Counter[str]]) -> None:
    rows = [(name, *(counts[key] for key in ("times", "recovered", "exact"))) for name, counts in tally.items()]
    rows.append(("all", *(sum(row[column] for row in rows) for column in (1, 2, 3))))
    print(f"{'FAULT':30}{'TIMES':>8}{'RECOVERED':>12}{'EXACT':>8}")
    for name, times, recovered, exact in rows:
        print(f"{name:30}{times:8}{recovered:12}{exact:8}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=int, nargs="?", help="how many (default: as many as there are faults)")
    parser.add_argument("--only", nargs="+", choices=list(FAULTS), metavar="FAULT", help=f"of: {', '.join(FAULTS)}")
    kinds = sorted({fault.kind.name for fault in FAULTS.values()})
    parser.add_argument("--of", choices=kinds, help="only faults of this kind (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="decides the moments and the details (default 0)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the folders of all runs there")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
