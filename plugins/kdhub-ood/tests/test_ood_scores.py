"""Scores of texts: hand values of the card, batches, the rivals, the saved scorer and its command."""

import json
import math

import numpy as np
import pytest
import torch

from kdhub import UsageError
from kdood.commands import ood
from kdood.scorer import Scorer, fit_scorer, open_scorer
from kdood.scores import KNearest, Mahalanobis, energy, max_softmax, mean_pooled, perplexity, text_nll

TEXTS = ["play some music", "x", "", "what is the weather like in rome today", "  ", "book " * 60, "set an alarm"]


def test_end_of_text_hand_values():
    """The card's example: the end of text counts or not, and is predicted from the last token."""
    logits = torch.tensor([[[2.0, 0, 0], [0, 1, 3], [7, 7, 7]]])
    ids, mask = torch.tensor([[0, 1, 2]]), torch.tensor([[1, 1, 0]])
    with_end, without = (float(text_nll(logits, ids, mask, end)) for end in (True, False))
    assert with_end == pytest.approx((2.2395449 + 0.1698460) / 2, abs=1e-6)
    assert without == pytest.approx(2.2395449, abs=1e-6)
    assert float(perplexity(with_end)) == pytest.approx(3.3357431, abs=1e-5)
    assert float(perplexity(without)) == pytest.approx(9.3890571, abs=1e-5)
    assert perplexity(1e4) == math.inf


def test_rows_of_a_batch_do_not_mix():
    """The released code flattens the mask, which is right for one text alone."""
    torch.manual_seed(0)
    logits, ids = torch.randn(3, 6, 5), torch.randint(0, 5, (3, 6))
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]])
    for end in (True, False):
        together = text_nll(logits, ids, mask, end)
        alone = torch.cat(
            [text_nll(logits[row : row + 1], ids[row : row + 1], mask[row : row + 1], end) for row in range(3)]
        )
        torch.testing.assert_close(together, alone, equal_nan=True)
    assert together[2].isnan()


def test_msp_and_energy_of_known_logits():
    """Both grow where no class is likely."""
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    assert max_softmax(logits).tolist() == pytest.approx([0.25, 0.5])
    assert energy(logits).tolist() == pytest.approx([-math.log(4), -math.log(2)])
    assert energy(logits, 2.0).tolist() == pytest.approx([-2 * math.log(math.sqrt(3) + 1), -2 * math.log(2)])


def test_mahalanobis_is_the_distance_in_standard_deviations():
    """Along a direction of large variance the same difference means less."""
    random = torch.Generator().manual_seed(0)
    features = torch.randn(4000, 2, generator=random) * torch.tensor([3.0, 1.0])
    score = Mahalanobis(features, shrinkage=0.0)
    assert score(torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 3.0]])).tolist() == pytest.approx([1, 1, 9], rel=0.1)
    labels = torch.arange(4000) % 2
    apart = Mahalanobis(features + labels[:, None] * 10.0, labels)
    assert float(apart(torch.tensor([[10.0, 10.0]]))) < 1 < float(apart(torch.tensor([[5.0, 5.0]])))
    with pytest.raises(UsageError, match="N from 2"):
        Mahalanobis(features[0])


def test_k_nearest_is_the_distance_to_the_kth():
    """Lengths are no part of it, and the first neighbour of a training text is itself."""
    score = KNearest(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), k=1)
    assert score(torch.tensor([[5.0, 0.0], [-1.0, 0.0]])).tolist() == pytest.approx([0.0, math.sqrt(2)], abs=1e-6)
    assert float(KNearest(torch.eye(2), k=2)(torch.tensor([[1.0, 0.0]]))) == pytest.approx(math.sqrt(2))
    with pytest.raises(UsageError, match="up to 2"):
        KNearest(torch.eye(2), k=3)


def test_the_mean_leaves_padding_out():
    """Embeddings that hear padding score the length of the longest text beside."""
    states = torch.tensor([[[1.0], [3.0], [math.nan]]])
    assert float(mean_pooled(states, torch.tensor([[1, 1, 0]]))) == 2


def test_batches_and_padding_change_no_score(language_model):
    """A score that depends on its neighbours is another one in every file."""
    found = {
        size: np.array([s.nll for s in Scorer(language_model, 64, batch_size=size).scores(TEXTS)])
        for size in (1, 3, 16)
    }
    assert np.isnan(found[1]).tolist() == [False, False, True, False, True, False, False]
    for size in (3, 16):
        np.testing.assert_allclose(found[size], found[1], atol=1e-5)


def test_scores_are_those_of_the_library(language_model):
    """The mean of what transformers computes of one text with its end."""
    scorer = Scorer(language_model, 64)
    ids = torch.tensor([[*scorer.tokenizer(TEXTS[3])["input_ids"], 0]])
    with torch.no_grad():
        wanted = float(scorer.model(input_ids=ids, labels=ids).loss)
    assert next(scorer.scores([TEXTS[3]])).nll == pytest.approx(wanted, abs=1e-5)
    bare = Scorer(language_model, 64, end_of_text=False)
    with torch.no_grad():
        wanted = float(bare.model(input_ids=ids[:, :-1], labels=ids[:, :-1]).loss)
    found = [score.nll for score in bare.scores([TEXTS[3], "x"])]
    assert found[0] == pytest.approx(wanted, abs=1e-5)
    assert math.isnan(found[1])


def test_a_stream_is_not_read_ahead(language_model):
    """A file larger than memory must be scored as it comes."""
    taken = []

    def stream():
        for number in range(1000):
            taken.append(number)
            yield "play some music"

    scores = Scorer(language_model, 64, batch_size=2).scores(stream())
    next(scores)
    assert len(taken) <= 2 * 16


@pytest.fixture
def scorer(language_model, tmp_path):
    """A folder with a scorer whose threshold was chosen on four texts."""
    (tmp_path / "val.txt").write_text("play some music\nset an alarm\n\nbook a flight\nwhat is it\n")
    folder = tmp_path / "scorer"
    folder.mkdir()
    results = fit_scorer(folder, language_model, str(tmp_path / "val.txt"), keep=0.75, max_length=32)
    assert results["texts"] == 4
    return folder


def test_the_threshold_keeps_the_share_it_was_asked_for(scorer):
    """A threshold between two scores that rounds the wrong way keeps fewer."""
    opened, settings = open_scorer(scorer)
    found = [s.nll for s in opened.scores(["play some music", "set an alarm", "book a flight", "what is it"])]
    assert sum(nll <= settings.threshold + 1e-6 for nll in found) >= 3
    assert settings.max_length == opened.max_length == 32


def test_the_command_scores_each_line(scorer, tmp_path, capsys):
    """One line out for each line in, or nobody can join the two files."""
    file = tmp_path / "texts.txt"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(TEXTS).encode())
    assert ood.main(["score", str(scorer), str(file)]) == 0
    done = capsys.readouterr()
    rows = [line.split("\t") for line in done.out.splitlines()]
    assert len(rows) == len(TEXTS)
    assert [row[0] == "nan" for row in rows] == [False, False, True, False, True, False, False]
    assert rows[2][1] == "0"
    assert "7 lines" in done.err
    assert "2 with nothing to score" in done.err
    assert "1 cut after 32 tokens" in done.err
    assert ood.main(["score", str(scorer), str(file), "--json", "--threshold", "0", "--batch-size", "3"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["ood"] for row in found] == [True, True, False, True, False, True, True]
    assert found[2]["score"] is None
    assert found[0]["perplexity"] == pytest.approx(math.exp(found[0]["score"]))


def test_what_is_no_scorer_is_refused(scorer, language_model, tmp_path):
    """The message must say what to run, not which key is missing."""
    with pytest.raises(UsageError, match="kdhub train kdood"):
        open_scorer(tmp_path)
    (scorer / "scorer.json").write_text('{"threshold": 1.0}')
    with pytest.raises(UsageError, match="no scorer"):
        open_scorer(scorer)
    with pytest.raises(UsageError, match="between 0 and 1"):
        fit_scorer(tmp_path, language_model, "x", keep=1.0)
    with pytest.raises(UsageError, match="up to 64"):
        Scorer(language_model, 65)
