"""Name banks and the text classifier: order, spelling, background, other names at test time."""

import math

import pytest
import torch

from kddet.regions.names import NameBank, spoken
from kddet.regions.text_classifier import TextClassifier
from kdhub.api import UsageError

NAMES = ("cat", "traffic light", "hot dog")


@pytest.fixture
def bank():
    return NameBank(NAMES, torch.tensor([[3.0, 4.0], [0.0, 2.0], [-5.0, 0.0]]), "a text model")


def test_names_are_spoken():
    """LVIS writes underscores, COCO does not, and a text model embeds the two elsewhere."""
    assert spoken("traffic_light") == spoken(" Traffic  Light ") == "traffic light"


def test_embeddings_are_unit_vectors(bank):
    """Cosines are what the temperature was chosen for."""
    torch.testing.assert_close(bank.embeddings, torch.tensor([[0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]]))


def test_templates_are_averaged_as_unit_vectors():
    """By hand: (1, 0) and (0, 1), whatever their lengths, average to the diagonal."""
    bank = NameBank.of_templates(["cat"], torch.tensor([[[9.0, 0.0]], [[0.0, 1.0]]]))
    torch.testing.assert_close(bank.embeddings, torch.full((1, 2), math.sqrt(0.5)))


def test_chosen_names_keep_their_own_vectors(bank):
    """The order of the text matrix must be that of the labels."""
    other = bank.chosen(["hot_dog", "cat"])
    assert other.names == ("hot_dog", "cat")
    assert other.embeddings.equal(bank.embeddings[[2, 0]])
    with pytest.raises(UsageError, match="no such name.*'trafic light'.*traffic light"):
        bank.chosen(["trafic light"])


def test_a_bank_survives_its_file(bank, tmp_path):
    """The bank goes with the checkpoint: without its names nobody can tell the columns apart."""
    bank.save(tmp_path / "names.safetensors")
    read = NameBank.read(tmp_path / "names.safetensors")
    assert (read.names, read.source) == (NAMES, "a text model")
    torch.testing.assert_close(read.embeddings, bank.embeddings)
    (tmp_path / "other").write_text("no tensors")
    for file in ("other", "nowhere"):
        with pytest.raises(UsageError, match=f"{file}: not a bank of names"):
            NameBank.read(tmp_path / file)


def test_labels_in_another_order(bank):
    """A detector that learned label 1 as "hot dog" and is exported with "traffic light" there is wrong for ever."""
    bank.see_that_labels(["cat", "traffic_light", "hot_dog"])
    with pytest.raises(UsageError, match=r"not the names of the bank.*label 1 is 'traffic light', got 'hot dog'"):
        bank.see_that_labels(["cat", "hot dog", "traffic light"])
    with pytest.raises(UsageError, match="expected 3 names, got 2 classes"):
        bank.see_that_labels(["cat", "traffic light"])


@pytest.mark.parametrize(
    ("names", "rows", "match"),
    [
        (["cat"], torch.ones(2, 3), "another number of embeddings"),
        (["hot dog", "hot_dog"], torch.ones(2, 3), "'hot dog' and 'hot_dog'"),
        (["cat", "dog"], torch.tensor([[1.0, 0.0], [0.0, 0.0]]), "'dog': an embedding of length 0"),
        (["cat"], torch.tensor([[torch.nan, 0.0]]), "'cat': an embedding of length nan"),
    ],
)
def test_banks_that_cannot_be(names, rows, match):
    """Each would give a class that nothing, or another's objects, are found for."""
    with pytest.raises(UsageError, match=match):
        NameBank(tuple(names), rows)


def test_logits_by_hand(bank):
    """Temperature times cosine; the background vector is not normalised and the temperature multiplies it too."""
    head = TextClassifier(2, 4, bank)
    with torch.no_grad():
        head.map_to_text.weight.copy_(torch.eye(2))
        head.map_to_text.bias.zero_()
        head.background.copy_(torch.tensor([0.0, 3.0]))
    logits = head(torch.tensor([[0.0, 7.0]]))
    torch.testing.assert_close(logits, 100.002981 * torch.tensor([[0.8, 1.0, 0.0, 3.0]]))
    torch.testing.assert_close(head.region_embeddings(torch.tensor([[0.0, 7.0]])), torch.tensor([[0.0, 1.0]]))


def test_text_is_frozen_and_the_rest_trains(bank):
    """Text embeddings that move leave the space in which new names lie."""
    head = TextClassifier(3, 4, bank)
    torch.nn.functional.cross_entropy(head(torch.randn(5, 3)), torch.tensor([0, 1, 2, 3, 3])).backward()
    assert {name for name, parameter in head.named_parameters() if parameter.grad.any()} == {
        "map_to_text.weight",
        "map_to_text.bias",
        "background",
        "scale",
    }
    assert not head.embeddings.requires_grad
    assert "embeddings" in head.state_dict()


def test_other_names_at_test_time(bank):
    """Going from 48 classes to 65 replaces the text alone; background stays last."""
    head = TextClassifier(3, 4, bank)
    features = torch.randn(5, 3)
    before = head(features)
    head.rename(bank.chosen(["cat"]))
    torch.testing.assert_close(head(features), before[:, [0, 3]])
    with pytest.raises(UsageError, match="another text model.*width 2.*got 5"):
        head.rename(NameBank(("cat",), torch.ones(1, 5)))


def test_a_bank_of_another_number_of_names(bank):
    """The head's labels would shift by as many columns."""
    with pytest.raises(UsageError, match="80 names, and background beside them.*got 3"):
        TextClassifier(3, 81, bank)


def test_mmdets_box_head_takes_it(bank, tmp_path):
    """It must be built from a config, in the place and with the widths that the head gives."""
    from mmdet.models import Shared2FCBBoxHead

    from kdhub.api import init

    init()
    bank.save(tmp_path / "names.safetensors")
    head = Shared2FCBBoxHead(
        in_channels=4,
        fc_out_channels=6,
        roi_feat_size=2,
        num_classes=3,
        cls_predictor_cfg={"type": "kddet.TextClassifier", "names": str(tmp_path / "names.safetensors")},
    )
    head.init_weights()
    scores, deltas = head(torch.randn(2, 4, 2, 2))
    assert isinstance(head.fc_cls, TextClassifier)
    assert (scores.shape, deltas.shape) == ((2, 4), (2, 12))
