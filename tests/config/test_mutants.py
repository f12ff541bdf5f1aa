"""What becomes of 120 configs with one mistake each: refused, told in one line, or trained if the mistake means something.

To replay mutants: ``KDHUB_MUTANTS=17,42-60 pytest tests/config/test_mutants.py -s``.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections import Counter

import mutations
import pytest
from mmengine.config import Config
from mutant_runs import MANIFEST, PARTS, bases, train_for_a_moment

from kdhub.config import check_config
from kdhub.errors import KdhubError
from kdhub.testing import isolated_plugins

MUTANTS = 120
TRACEBACKS = 6
"""How many may end in one: rules for every key of mmengine would cost more than they give."""


@pytest.fixture
def manager(install_fake):
    """A plugin of trainable toys."""
    files = {"kdtoy/__init__.py": "", "kdtoy/plugin.py": MANIFEST, "kdtoy/parts.py": PARTS}
    install_fake("kdhub-toy", files=files, entry_points={"kdtoy": "kdtoy.plugin"})
    import kdtoy.plugin

    with isolated_plugins(kdtoy.plugin) as manager:
        yield manager


def outcome(mutant, manager, former, folder):
    """Check and train one mutant; return what became of it, and the words for it."""
    try:
        report = check_config(Config(mutant.cfg), manager, deep=True)  # as `kdhub train` does
    except Exception as error:  # noqa: BLE001 - a traceback is what is counted
        return "traceback", f"the check itself: {error!r}"
    if not report.ok:
        return "refused", report.errors[0].line()
    new = [finding.line() for finding in report.warnings if finding not in former]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            train_for_a_moment(mutant.cfg, folder)
        except KdhubError as error:
            return "told", str(error)
        except Exception as error:  # noqa: BLE001 - a traceback is what is counted
            return "traceback", f"{type(error).__name__}: {str(error)[:200]}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    new += [str(one.message) for one in said if mutant.what.strip("'") in str(one.message)]
    return ("warned", new[0]) if new else ("trained" if mutant.harmless else "wrong in silence", "")


def seeds():
    """The seeds to try: those of ``KDHUB_MUTANTS``, or the usual ones."""
    for part in os.environ.get("KDHUB_MUTANTS", f"0-{MUTANTS - 1}").split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)


@pytest.mark.timeout(600)
def test_no_mutant_is_wrong_in_silence_and_few_end_in_a_traceback(manager, tmp_path):
    """47 of 120 configs with one mistake passed the check and ended in a traceback, and some trained without what was meant."""
    originals = bases()
    former = {name: check_config(Config(cfg), manager, deep=True).findings for name, cfg in originals.items()}
    assert all(found == () for found in former.values()), former
    bad, counts = {"traceback": [], "wrong in silence": []}, Counter()
    for seed in seeds():
        mutant = mutations.mutant(seed, originals)
        what, words = outcome(mutant, manager, former[mutant.base], tmp_path / f"mutant-{seed}")
        counts[what] += 1
        line = f"{what}: {mutant}{' | ' if words else ''}{words}"
        if what in bad:
            bad[what].append(line)
        if what in bad or "KDHUB_MUTANTS" in os.environ:
            print(line)
    print(dict(counts))
    assert bad["wrong in silence"] == []
    assert len(bad["traceback"]) <= TRACEBACKS, "\n".join(bad["traceback"])


def test_every_operator_has_its_turn():
    """A mutator that makes one kind of mistake says little about the others."""
    originals = bases()
    made = [mutations.mutant(seed, originals) for seed in range(MUTANTS)]
    assert len({one.operator for one in made}) == len(mutations.OPERATORS) >= 12
    assert {one.base for one in made} == set(originals)
    assert [str(one) for one in made] == [str(mutations.mutant(seed, originals)) for seed in range(MUTANTS)]
    assert all(one.cfg != originals[one.base] for one in made)
