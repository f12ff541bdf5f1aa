"""`PanelHook`: how well a language model's surprise tells texts apart, and the sentences with which it is most wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from kdhub.api import COLOURS, ModelPanels, Panel, TorchModel, UsageError, build, integer, require, svg_figure
from kdlm.data.collate import collate_tokens
from kdlm.data.texts import IGNORED
from kdlm.tokenizer import load_tokenizer
from kdood.figures import ood_figures

STUDENT = "student"


class Scored(NamedTuple):
    """One text under one model.

    Attributes:
        tokens: The predicted tokens, as text.
        surprise: Negative log-likelihood of each, in nats.
        ood: Whether the text is out of distribution.
    """

    tokens: list[str]
    surprise: list[float]
    ood: bool

    @property
    def nll(self) -> float:
        """The score of the text: the mean over its tokens."""
        return float(np.mean(self.surprise))


class PanelHook(ModelPanels):
    """After training, draws the scores of texts within and out of distribution, the ROC curves, and the student's worst mistakes.

    The worst mistakes are the texts out of distribution with the lowest scores, and those within with the highest, each token coloured by how
    much it surprised the student. Training and the choice of hyperparameters never see the texts: take those of the validation split.

    Args:
        dataset: Config of a data set of kdood with texts of both kinds, such as ``dict(type='kdood.CLINC150', split='val',
            part='both', tokenizer=...)``.
        count: Mistakes of each kind.
        batch_size: Texts that run at once.
        reference: As for `kdhub.api.ModelPanels`.
        reference_name: What the pictures call it.

    Raises:
        UsageError: Before training, if the texts are of one kind only.
    """

    needs_another = False

    def __init__(
        self,
        dataset: Any,
        count: int = 5,
        batch_size: int = 32,
        reference: str | None = None,
        reference_name: str = "student alone",
    ) -> None:
        super().__init__(reference, reference_name)
        require("PanelHook", integer(1), count=count, batch_size=batch_size)
        self.dataset = dataset
        self.count = count
        self.batch_size = batch_size

    def before_train(self, runner: Any) -> None:
        """See that there are texts of both kinds, too."""
        super().before_train(runner)
        data = self._data()
        kinds = {bool(data[place]["ood"]) for place in range(len(data))}
        if len(kinds) < 2:
            raise UsageError(
                "pictures of OOD detection need texts of both kinds",
                where="custom_hooks, PanelHook.dataset",
                got=f"only texts {'out of' if True in kinds else 'in'} distribution",
                fix="set part='both', and a split that has both",
            )

    def load_reference(self, path: Path, runner: Any) -> nn.Module:
        """Load a language model as transformers saves it.

        Args:
            path: Its folder, or the work_dir around the student.
            runner: The runner.

        Raises:
            UsageError: If there is none.
        """
        folder = path / STUDENT if (path / STUDENT).is_dir() else path
        if not (folder / "config.json").is_file():
            raise UsageError(
                "no language model to compare with",
                where=f"custom_hooks, PanelHook.reference={path}",
                expected="a folder that save_pretrained wrote, or a work_dir with such a folder",
                fix="train it first, or leave `reference` out",
            )
        net = {
            "type": "transformers.AutoModelForCausalLM.from_pretrained",
            "pretrained_model_name_or_path": str(folder),
        }
        return TorchModel(net)

    def panels(self, runner: Any, models: Mapping[str, nn.Module], folder: Path) -> Iterator[Panel]:
        """Draw three pictures."""
        data = self._data()
        texts = {name: scored(model, data, self.batch_size) for name, model in models.items()}
        figures = {name: ood_figures([one.nll for one in own], [one.ood for one in own]) for name, own in texts.items()}
        said = ", ".join(f"{name} {found['auroc']:.1f}" for name, found in figures.items())
        histograms, curves, mistakes = (folder / f"ood-{name}.svg" for name in ("scores", "roc", "mistakes"))
        _draw_scores(texts, histograms)
        yield Panel(
            "Scores of texts",
            histograms,
            f"Mean surprise of a text in nats; filled: out of distribution. AUROC {said}.",
        )
        _draw_curves({name: (own, self.colour_of(name)) for name, own in texts.items()}, curves)
        yield Panel("ROC", curves, "Share of texts out of distribution above a threshold, over that of texts within.")
        worst = most_wrong(texts[STUDENT], self.count)
        _draw_sentences(worst, mistakes)
        yield Panel(
            "The student's worst mistakes",
            mistakes,
            "Texts out of distribution that surprise it least, then texts within that surprise it most; the darker a token, the greater its surprise.",
        )

    def _data(self) -> Any:
        return build("dataset", self.dataset, where="custom_hooks, PanelHook.dataset")


@torch.no_grad()
def scored(model: Any, data: Any, batch_size: int) -> list[Scored]:
    """Score the texts of a data set of kdood, token by token.

    Args:
        model: A model whose ``val_step`` predicts ``pred_score`` (L, V), as `kdhub.TorchModel` around a causal language model does.
        data: The data set.
        batch_size: Texts that run at once.
    """
    tokenizer = load_tokenizer(data.metainfo["tokenizer"])
    found = []
    for batch in DataLoader(data, batch_size=batch_size, collate_fn=collate_tokens):
        flags = batch["ood"].tolist()
        for sample, flag in zip(model.val_step(batch), flags, strict=True):
            labels = sample["gt_label"][1:]
            counted = labels != IGNORED
            surprise = cross_entropy(sample["pred_score"][:-1].float(), labels, ignore_index=IGNORED, reduction="none")
            tokens = [tokenizer.decode([token]) for token in labels[counted].tolist()]
            found.append(Scored(tokens, surprise[counted].tolist(), bool(flag)))
    return found


def most_wrong(texts: Sequence[Scored], count: int) -> list[Scored]:
    """Choose the texts out of distribution with the lowest scores, then those within with the highest, worst first."""
    out = sorted((one for one in texts if one.ood), key=lambda one: one.nll)[:count]
    return out + sorted((one for one in texts if not one.ood), key=lambda one: -one.nll)[:count]


def _draw_scores(texts: Mapping[str, Sequence[Scored]], path: Path) -> None:
    with svg_figure(path, 3.2 * len(texts), 2.4) as figure:
        for axes, (name, own) in zip(figure.subplots(1, len(texts), squeeze=False)[0], texts.items(), strict=True):
            values, out = np.array([one.nll for one in own]), np.array([one.ood for one in own])
            edges = np.histogram_bin_edges(values, bins=30)
            axes.hist(values[out], edges, density=True, color=COLOURS.bad, alpha=0.5)
            axes.hist(values[~out], edges, density=True, histtype="step", color=COLOURS.line)
            axes.set_title(name, fontsize=8, loc="left")
            axes.set_xlabel("nats a token")
            axes.set_yticks([])


def _draw_curves(texts: Mapping[str, tuple[Sequence[Scored], str]], path: Path) -> None:
    with svg_figure(path, 3.6, 3.2) as figure:
        axes = figure.subplots()
        for name, (own, colour) in texts.items():
            ranked = sorted(own, key=lambda one: -one.nll)
            out = np.array([one.ood for one in ranked])
            axes.plot(
                np.r_[0, (~out).cumsum() / (~out).sum()], np.r_[0, out.cumsum() / out.sum()], color=colour, label=name
            )
        axes.plot([0, 1], [0, 1], color=COLOURS.ink, linewidth=0.5, linestyle=":")
        axes.set(xlabel="within, above the threshold", ylabel="out, above the threshold")
        axes.legend(frameon=False, fontsize=8)


def _draw_sentences(texts: Sequence[Scored], path: Path, width: int = 96) -> None:
    rows = [lines for one in texts for lines in _lines(one, width)]
    most = max(max(one.surprise) for one in texts)
    with svg_figure(path, 10, 0.24 * len(rows) + 0.1) as figure:
        axes = figure.subplots()
        axes.set(xlim=(0, width + 12), ylim=(len(rows), 0))
        axes.axis("off")
        for place, (head, tokens) in enumerate(rows):
            axes.text(0, place + 0.7, head, fontsize=7, family="monospace")
            column = 12
            for token, surprise in tokens:
                box = [column, column + len(token)], place + 0.05, place + 0.95
                axes.fill_between(*box, color=COLOURS.bad, alpha=0.7 * surprise / most, linewidth=0)
                axes.text(column, place + 0.7, token, fontsize=7, family="monospace", parse_math=False)
                column += len(token)


def _lines(text: Scored, width: int) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Break a text into lines of tokens; the first says its kind and score."""
    head, line, used = f"{'out' if text.ood else 'in'} {text.nll:.2f}", [], 0
    for token, surprise in zip(text.tokens, text.surprise, strict=True):
        shown = " ".join(token.split("\n"))[:width]
        if used + len(shown) > width:
            yield head, line
            head, line, used = "", [], 0
        line.append((shown, surprise))
        used += len(shown)
    yield head, line
