"""Pictures of OOD detection: the worst mistakes by hand, and a run whose report has them."""

import json
import re
from pathlib import Path

import pytest

from kdhub import UsageError
from kdhub.api import load_config, train
from kdood.panels import Scored, _lines, most_wrong


def test_the_worst_mistakes_by_hand():
    """A sort the wrong way round shows the texts that the model gets right."""
    scores = [(1.0, False), (5.0, False), (3.0, False), (2.0, True), (6.0, True), (0.5, True)]
    texts = [Scored(["a", "b"], [nll - 0.5, nll + 0.5], ood) for nll, ood in scores]
    assert [(one.nll, one.ood) for one in most_wrong(texts, 2)] == [
        (0.5, True),
        (2.0, True),
        (5.0, False),
        (3.0, False),
    ]


def test_a_long_text_is_broken_between_tokens():
    """A line that runs out of the picture hides the tokens that surprised the model."""
    lines = list(_lines(Scored([" abc", " de", "f\n", " ghij"], [1.0, 2.0, 3.0, 2.0], True), 7))
    assert [[token for token, _ in tokens] for _, tokens in lines] == [[" abc", " de"], ["f ", " ghij"]]
    assert [head for head, _ in lines] == ["out 2.00", ""]


def config(clinc, language_model, folder, part, reference=None):
    """A language model that trains one epoch and draws."""
    (folder / "run.py").write_text(
        f"""_base_ = ["kdood:clinc-teacher"]
predecessors = dict(_delete_=True)
model = dict(net=dict(pretrained_model_name_or_path={language_model!r}))
train_dataloader = dict(batch_size=8, dataset=dict(tokenizer={language_model!r}, root={clinc!r}))
val_dataloader = dict(dataset=dict(tokenizer={language_model!r}, root={clinc!r}))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
custom_hooks = [
    dict(
        type="kdood.PanelHook",
        dataset=dict(
            type="kdood.CLINC150", split="val", part={part!r}, tokenizer={language_model!r}, root={clinc!r}, max_length=32
        ),
        reference={reference!r},
        reference_name="before",
        count=2,
    )
]
work_dir = {str(folder / "run")!r}
""",
        encoding="utf-8",
    )
    return load_config(str(folder / "run.py"))


def test_a_run_draws_its_texts(clinc, language_model, tmp_path):
    """The pictures must reach the report, with both models and with the words of the texts in them."""
    train(config(clinc, language_model, tmp_path, "both", language_model))
    pictures = json.loads(Path(tmp_path, "run/run.json").read_text(encoding="utf-8"))
    found = {one["path"]: one["caption"] for one in _pictures(pictures)}
    assert sorted(found) == [f"pictures/ood-{name}.svg" for name in ("mistakes", "roc", "scores")]
    assert re.search(r"AUROC student \d+\.\d, before \d+\.\d", found["pictures/ood-scores.svg"])
    drawn = Path(tmp_path, "run/pictures/ood-mistakes.svg").read_text(encoding="utf-8")
    assert drawn.count(">out ") == drawn.count(">in ") == 2


def _pictures(content):
    return content["pictures"] if "pictures" in content else content["content"]["pictures"]


@pytest.mark.parametrize("part", ["in", "out"])
def test_texts_of_one_kind_are_told_before_training(clinc, language_model, tmp_path, part):
    """After training, the run would end in an error without its pictures."""
    with pytest.raises(UsageError, match="texts of both kinds"):
        train(config(clinc, language_model, tmp_path, part))
