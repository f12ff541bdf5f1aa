"""The outline of a model: what `kdhub probe` shows must be what a tap would read."""

from contextlib import suppress

import torch
from torch import nn

from kdhub.distill.outline import outline
from kdhub.distill.taps import ModuleOutput, recording
from kdhub.testing.toys import ToyEncoder, ToySegmentor, pair_batch, segmentation_batch
from kdhub.values import describe


def rows_of(model, run):
    """Rows by path."""
    return {row.path: row for row in outline(model, run)}


def test_every_row_is_what_a_tap_reads():
    """A path that probe shows and a tap does not accept sends the user in circles."""
    model, batch = ToySegmentor(inplace=False), segmentation_batch()
    rows = [row for row in outline(model, lambda: model(**batch)) if row.calls]
    assert {"", "backbone", "backbone.0", "head"} <= {row.path for row in rows}
    for row in rows:
        tap = ModuleOutput(row.path)
        with recording([tap], model):
            model(**batch)
        assert row.calls == 1
        assert row.outputs == [describe(tap.read())]


def test_methods_are_described_too():
    """Scores and proposals are returned by methods; no module's output shows them."""
    model, batch = ToyEncoder(), pair_batch()
    rows = rows_of(model, lambda: model(**batch))
    assert (rows["embed"].type, rows["embed"].calls, rows["embed"].outputs) == ("method", 2, ["(8, 6) float32"])
    assert (rows["score"].calls, rows["score"].outputs) == (1, ["(8, 8) float32"])
    assert "train_step" not in rows
    assert not {"embed", "score"} & set(vars(model))


def test_a_method_that_returns_no_tensor_is_left_out():
    """Nothing can be distilled from it."""

    class Model(nn.Module):
        def helper(self):
            return 3

        def forward(self):
            return self.helper()

    assert list(rows_of(model := Model(), lambda: model())) == [""]


def test_several_calls_are_counted_and_described_once():
    """A tap on such a module needs call=..., and this is where the user learns it."""
    model, batch = ToyEncoder(), pair_batch()
    row = rows_of(model, lambda: model(**batch))["encoder"]
    assert (row.calls, row.outputs) == (2, ["(8, 6) float32"])


def test_calls_that_differ_are_all_described():
    """A head shared by several scales gives another shape each time."""
    model = nn.Linear(3, 2)
    row = rows_of(model, lambda: [model(torch.zeros(n, 3)) for n in (1, 4)])[""]
    assert row.outputs == ["(1, 2) float32", "(4, 2) float32"]


def test_a_module_that_does_not_run_has_no_calls():
    """Tapping it would stop training with a guard."""
    model = nn.ModuleDict({"used": nn.Identity(), "unused": nn.Identity()})
    rows = rows_of(model, lambda: model["used"](torch.zeros(1)))
    assert (rows["used"].calls, rows["unused"].calls) == (1, 0)


def test_nothing_stays_on_the_model():
    """A hook that stays would slow down or break whatever is done with the model next."""
    model, batch = ToySegmentor(), segmentation_batch()

    def fail():
        model(**batch)
        raise RuntimeError

    for run in (lambda: model(**batch), fail):
        with suppress(RuntimeError):
            outline(model, run)
        assert not any(module._forward_hooks for module in model.modules())


def test_paths_count_from_the_unwrapped_model():
    """Under DDP every path would begin with 'module.' and fit no tap."""
    model = nn.DataParallel(nn.Sequential(nn.Identity()))
    assert list(rows_of(model, lambda: None)) == ["", "0"]
