"""The picture shows what it says: looked at through its pixels."""

import numpy as np
import pytest
from PIL import Image

from kdseg.panels.compare import difference, edge_band
from kdseg.panels.draw import Scene, draw

PALETTE = [[250, 0, 250], [0, 250, 250]]


@pytest.fixture
def scene():
    """Two halves on grey; the student is right everywhere, the other one nowhere in the lower left quarter."""
    truth = np.zeros((60, 80), np.uint8)
    truth[:, 40:] = 1
    wrong = truth.copy()
    wrong[30:, :40] = 1
    return Scene(
        image=np.full((60, 80, 3), 120, np.uint8),
        truth=truth,
        predictions={"other": wrong, "student": truth},
        changes=difference(truth, truth, wrong),
        changes_name="changes",
        band=edge_band(truth, 3),
    )


def pixels(scene, path):
    draw(scene, path, ("left", "right"), PALETTE)
    return np.asarray(Image.open(path).convert("RGB")).reshape(-1, 3).astype(int)


def near(found, colour):
    return int((np.abs(found - colour).max(axis=1) < 12).sum())


def test_gains_are_green_and_losses_red(scene, tmp_path):
    """Exchanged colours would tell the opposite story."""
    found = pixels(scene, tmp_path / "a.png")
    assert near(found, (30, 170, 70)) > 1000
    assert near(found, (215, 40, 40)) == 0
    swapped = difference(scene.truth, scene.predictions["other"], scene.truth)
    scene = Scene(scene.image, scene.truth, scene.predictions, swapped, "changes", scene.band)
    found = pixels(scene, tmp_path / "b.png")
    assert near(found, (30, 170, 70)) == 0
    assert near(found, (215, 40, 40)) > 1000


def test_classes_have_their_colours(scene, tmp_path):
    """The legend names colours that must be those in the panels."""
    found = pixels(scene, tmp_path / "a.png")
    blended = [[0.28 * 120 + 0.72 * value for value in colour] for colour in PALETTE]
    first, second = (near(found, colour) for colour in blended)
    assert first > 1000
    assert second > first, "the other prediction has more of the right class"
    assert near(found, PALETTE[0]) > 50, "key"


def test_any_number_of_models_and_void(scene, tmp_path):
    """Two teachers make a third row, and an unlabelled pixel has no colour in the palette."""
    truth = scene.truth.copy()
    truth[:5] = 255
    predictions = {**scene.predictions, "teacher a": truth, "teacher b": scene.truth}
    wide = Scene(scene.image, truth, predictions, scene.changes, "changes", scene.band)
    sizes = []
    for name, one in (("narrow", scene), ("wide", wide)):
        draw(one, tmp_path / f"{name}.png", ("left", "right"), PALETTE)
        with Image.open(tmp_path / f"{name}.png") as picture:
            sizes.append(picture.size)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1] < sizes[1][1]
