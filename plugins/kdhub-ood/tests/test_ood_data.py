"""Readers: what is within, what is out, and what is refused; the manifest and its README; the three stages."""

from pathlib import Path

import pytest

from kdhub import PluginError, UsageError
from kdhub.api import write_jsonl
from kdhub.config import check_config, load_config
from kdhub.engine.train import train
from kdhub.registry import init
from kdhub.testing import assert_plugin_contract
from kdood import plugin
from kdood.commands import ood
from kdood.data import CLINC150, AGNews, OODLines, Snips
from kdood.losses.prediction_kd import PredictionKD


def flags(data):
    return [data[index]["ood"] for index in range(len(data))]


def test_training_text_is_within(clinc, language_model):
    """One text out of distribution in training, and every figure is worthless."""
    assert set(flags(CLINC150("train", language_model, clinc, max_length=32))) == {0}
    test = CLINC150("test", language_model, clinc, max_length=32)
    assert (flags(test).count(0), flags(test).count(1)) == (24, 2)
    assert flags(CLINC150("test", language_model, clinc, part="out", max_length=32)) == [1, 1]


def test_domains_make_near_ones(clinc, language_model):
    """The intents of the other domains must not train either."""
    options = {"domains": ["travel", "time"], "max_length": 32}
    assert len(CLINC150("train", language_model, clinc, **options)) == 12
    both = CLINC150("test", language_model, clinc, **options)
    assert (flags(both).count(0), flags(both).count(1)) == (12, 14)
    near = CLINC150("test", language_model, clinc, out_of_scope=False, **options)
    assert flags(near).count(1) == 12
    with pytest.raises(UsageError, match="unknown 'travle'"):
        CLINC150("test", language_model, clinc, domains=["travle"])
    with pytest.raises(UsageError, match="split"):
        CLINC150("tset", language_model, clinc)


def test_labels_are_the_classes_within(clinc, language_model):
    """A class for texts out of distribution would teach a classifier what it must not know."""
    test = CLINC150("test", language_model, clinc, labelled=True, max_length=32)
    assert test.metainfo["classes"] == ("i0", "i1", "i2", "i3")
    assert {test[index]["labels"] for index in range(len(test)) if test[index]["ood"]} == {-100}
    assert {test[index]["labels"] for index in range(len(test)) if not test[index]["ood"]} == {0, 1, 2, 3}


def test_validation_lines_of_ag_news_train_nothing(tmp_path, language_model):
    """A text in two splits makes the threshold one on training data."""
    rows = [{"text": f"news {number}", "label": ("World", "Sports")[number % 2]} for number in range(40)]
    for name in ("train", "test"):
        write_jsonl(tmp_path / f"{name}.jsonl.gz", rows)
    parts = [
        AGNews(split, language_model, ["World"], str(tmp_path), part="both", max_length=32)
        for split in ("train", "val")
    ]
    assert not set(parts[0].texts) & set(parts[1].texts)
    assert len(parts[0]) + len(parts[1]) == 40
    assert set(AGNews("train", language_model, ["World"], str(tmp_path)).texts) == {
        f"news {number}" for number in range(0, 40, 2) if number % 8
    }
    with pytest.raises(UsageError, match="unknown 'world'"):
        AGNews("test", language_model, ["world"], str(tmp_path))


def test_snips_is_within_or_out(tmp_path, language_model):
    """All of it can be the text that another set's models have not seen."""
    rows = [{"text": f"request {number}", "intent": f"i{number % 7}"} for number in range(70)]
    write_jsonl(tmp_path / "utterances.jsonl.gz", rows)
    sizes = [len(Snips(split, language_model, root=str(tmp_path))) for split in ("train", "val", "test")]
    assert sizes == [42, 14, 14]
    assert set(flags(Snips("test", language_model, [], str(tmp_path)))) == {1}


def test_texts_on_both_sides_are_counted(tmp_path, language_model, capsys):
    """No score can tell them apart, and the figure's ceiling is below 100."""
    (tmp_path / "in.txt").write_text("play some music\nset an alarm\n")
    (tmp_path / "out.txt").write_text("quarks confine\nset an alarm\n")
    data = OODLines(str(tmp_path / "in.txt"), language_model, str(tmp_path / "out.txt"), max_length=32)
    assert flags(data) == [0, 0, 1, 1]
    assert "1 texts out of distribution stand among those within" in "".join(capsys.readouterr())


def test_counts_of_the_shared_data(shared_data, language_model):
    """Another number of texts is another collection than the one that the page reports."""
    clinc = {
        split: CLINC150(split, language_model, str(shared_data / "clinc150")) for split in ("train", "val", "test")
    }
    assert [len(data) for data in clinc.values()] == [15000, 3100, 2750]
    assert sum(flags(clinc["test"])) == 500
    assert len(AGNews("test", language_model, root=str(shared_data / "ag_news"))) == 1400
    assert len(Snips("train", language_model, root=str(shared_data / "snips"))) == 840


def test_the_manifest_keeps_the_contract():
    """A plugin of the tree that breaks the contract would teach authors to."""
    assert_plugin_contract("kdood")


@pytest.mark.parametrize("name", [recipe.name for recipe in plugin.kdhub_recipes()])
def test_recipes_pass_the_check(name):
    """A recipe is what a newcomer types first."""
    report = check_config(load_config(f"kdood:{name}"), init())
    assert not report.findings, [one.line() for one in report.findings]


def test_the_readme_names_every_component_and_recipe():
    """What is not in the README is found by nobody who does not read the manifest."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    names = [
        f"kdood.{component.name}" for hook in (plugin.kdhub_losses, plugin.kdhub_components) for component in hook()
    ]
    missing = [name for name in names if f"`{name}" not in text and f'"{name}"' not in text]
    missing += [recipe.name for recipe in plugin.kdhub_recipes() if f"`{recipe.name}`" not in text]
    assert not missing


def three_stages(clinc, language_model, folder, **student):
    """The recipe of three stages on small data, and more options of its second stage."""
    (folder / "teacher.py").write_text(
        f"""_base_ = ["kdood:clinc-teacher"]
predecessors = dict(_delete_=True)
model = dict(net=dict(pretrained_model_name_or_path={language_model!r}))
train_dataloader = dict(batch_size=8, dataset=dict(tokenizer={language_model!r}, root={clinc!r}))
val_dataloader = dict(dataset=dict(tokenizer={language_model!r}, root={clinc!r}))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
""",
        encoding="utf-8",
    )
    net = {"vocab_size": 300, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    layers = {"teacher_width": 16, "student_layers": [1, 2], "teacher_layers": [1, 2]}
    options = {"predecessors.teacher": str(folder / "teacher.py"), "train_cfg.max_epochs": 1} | student
    options |= {f"model.student.net.config.{key}": value for key, value in net.items()}
    options |= {f"model.objectives.layers.loss.{key}": value for key, value in layers.items()}
    options |= {f"{loader}_dataloader.dataset.root": clinc for loader in ("train", "val", "test")}
    options = {f"student:{key}": value for key, value in options.items()}
    cfg = load_config("kdood:clinc-scorer", options | {"job.validation.root": clinc, "job.max_length": 32})
    cfg.work_dir = str(folder / "run")
    return cfg


@pytest.mark.timeout(600)
def test_three_stages_in_one_command(clinc, language_model, tmp_path, capsys):
    """Each stage must find the model and the tokenizer of the one before; the scorer must find the student."""
    train(three_stages(clinc, language_model, tmp_path))
    capsys.readouterr()
    (tmp_path / "texts.txt").write_text("play some music\nquarks and gluons\n")
    assert ood.main(["score", str(tmp_path / "run"), str(tmp_path / "texts.txt")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


class KilledError(Exception):
    """Ends a run as a crash does."""


@pytest.mark.timeout(400)
def test_a_recipe_that_was_killed_goes_on_in_its_stage(clinc, language_model, tmp_path, monkeypatch):
    """A crash in the second epoch of the student must cost neither the teacher nor the student's first epoch."""
    steps, forward = [], PredictionKD.forward

    def failing(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 5:
            raise KilledError
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(PredictionKD, "forward", failing)
    two = {"train_cfg.max_epochs": 2, "train_dataloader.batch_size": 8}
    with pytest.raises(PluginError, match="KilledError"):
        train(three_stages(clinc, language_model, tmp_path, **two))
    teacher = next(tmp_path.glob("run/**/teacher/run.json"))
    before = teacher.read_bytes()
    assert not (tmp_path / "run/scorer.json").exists()
    monkeypatch.setattr(PredictionKD, "forward", lambda *args, **kwargs: (steps.append(1), forward(*args, **kwargs))[1])
    train(three_stages(clinc, language_model, tmp_path, **two), resume=True)
    assert len(steps) == 5 + 3  # 24 texts in batches of 8: the second epoch, from its beginning
    assert teacher.read_bytes() == before
    assert (tmp_path / "run/scorer.json").is_file()
