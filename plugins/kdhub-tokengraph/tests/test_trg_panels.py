"""`PanelHook`: neighbours worked out by hand, and a run whose report shows them."""

import json
import re

import pytest
import torch

from kdhub.config import load_config
from kdhub.engine.alone import train_with_alone
from kdhub.engine.train import train
from kdhub.errors import UsageError
from kdtrg.panels.hook import PanelHook
from kdtrg.panels.neighbours import grid_of, nearest_elsewhere


def config(work_dir, hook):
    """Two steps of the recipe with a random teacher."""
    cfg = load_config("kdtrg:digits-trg")
    cfg.pop("predecessors")
    wide = {**cfg.model.student, "net": {"type": "kdcls.DigitNet", "width": 32}}
    cfg.model.teacher = {"type": "kdhub.ModelTeacher", "model": wide, "own_weights": True}
    cfg.train_cfg = {"by_epoch": False, "max_iters": 2, "val_interval": 2}
    cfg.custom_hooks = [hook]
    cfg.default_hooks = {"baseline": None}
    cfg.work_dir = str(work_dir)
    return cfg


def test_neighbours_are_of_other_images():
    """The patch beside a patch is nearly the same patch, and would fill every picture."""
    # cosines with (1, 0): own image 1.0; the others 0.8, 0.0, 0.6, -1.0
    tokens = torch.tensor([[[1.0, 0.0], [2.0, 0.0]], [[0.8, 0.6], [0.0, 1.0]], [[0.6, -0.8], [-3.0, 0.0]]])
    found = nearest_elsewhere(tokens, 2)
    assert found.places[0].tolist() == [2, 4]
    torch.testing.assert_close(found.cosine[0], torch.tensor([0.8, 0.6]))
    assert nearest_elsewhere(tokens, 9).places.shape == (6, 4)
    assert found.shared(found) == 1.0
    assert found.shared(nearest_elsewhere(-tokens, 2)) == 1.0  # a turn changes no cosine
    with pytest.raises(UsageError, match="2 images or more"):
        nearest_elsewhere(tokens[:1], 2)


@pytest.mark.parametrize(("size", "grid"), [((8, 8, 16), (4, 4)), ((64, 128, 8), (2, 4)), ((30, 10, 3), (3, 1))])
def test_tokens_are_laid_out_as_the_image_is(size, grid):
    """A box drawn around another patch than the one compared would tell a wrong story."""
    height, width, tokens = size
    assert grid_of(tokens, height, width) == grid


def test_the_report_shows_three_models(tmp_path):
    """The student alone must be read by the student's tap, and the picture must be inside the one file."""
    run = train_with_alone(config(tmp_path / "run", {"type": "kdtrg.PanelHook", "count": 2, "images": 10}))
    (picture,) = json.loads((run.work_dir / "run.json").read_text())["pictures"]
    assert re.search(
        r"Of its 3 nearest patches, each model shares with the teacher: student alone \d+ %, student \d+ %\.",
        picture["caption"],
    )
    assert '<img src="data:image/svg+xml;base64,' in run.report_path.read_text()
    assert "pictures" not in json.loads((run.work_dir / "alone/run.json").read_text())


def test_an_objective_that_is_not_there_costs_no_run(tmp_path):
    """An hour of training, and then no picture for a misspelt name."""
    with pytest.raises(UsageError, match=r"no objective 'tgr'.*got logits, trg"):
        train(config(tmp_path / "run", {"type": "kdtrg.PanelHook", "objective": "tgr"}))


@pytest.mark.parametrize("name", ["count", "nearest", "images", "seed"])
def test_numbers_are_checked_at_once(name):
    """No rows would be drawn without a word."""
    with pytest.raises(UsageError, match=f"bad {name}"):
        PanelHook(**{name: -1})
