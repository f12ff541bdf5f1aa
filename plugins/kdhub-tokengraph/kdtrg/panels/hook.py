"""`PanelHook`: the nearest patches under the teacher, the student alone, and the student."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor, nn

from kdhub.api import COLOURS, ModelPanels, Panel, Tap, UsageError, integer, require, student_of, svg_figure, unwrapped
from kdtrg.panels.neighbours import Neighbours, grid_of, nearest_elsewhere

STUDENT = "student"


class PanelHook(ModelPanels):
    """After training, draws patches of validation images with the patches of other images that each model finds nearest.

    Tokens are those that the objective compares: its taps and adapters. Neighbours are found by the cosine of tokens, as in the
    local term. The caption says which share of its neighbours each model has in common with the teacher, over all patches: what
    TRG teaches.

    Args:
        objective: Name of the objective in ``model.objectives``.
        count: Patches drawn, one a row; images and places are drawn by ``seed``.
        nearest: Neighbours of each.
        images: Validation images whose patches are compared, spread evenly over all. The cost grows with the square of
            ``images`` times tokens.
        seed: Seed of the draw.
        reference: Work_dir of another run, or the student that it exported, of the student's own architecture. ``None`` takes the
            student alone of ``kdhub train --alone``, if there is one.
        reference_name: What the pictures call it.

    Raises:
        UsageError: Before training, if there is no such objective with one tap on each side, or nothing to compare with.
    """

    def __init__(
        self,
        objective: str = "trg",
        count: int = 4,
        nearest: int = 3,
        images: int = 64,
        seed: int = 0,
        reference: str | None = None,
        reference_name: str = "student alone",
    ) -> None:
        super().__init__(reference, reference_name)
        require("PanelHook", integer(1), count=count, nearest=nearest)
        require("PanelHook", integer(2), images=images)
        require("PanelHook", integer(0), seed=seed)
        self.objective = objective
        self.count = count
        self.nearest = nearest
        self.images = images
        self.seed = seed

    def before_train(self, runner: Any) -> None:
        """See that the objective is there, too."""
        super().before_train(runner)
        if not self._is_alone(runner):
            self._objective(runner)

    def panels(self, runner: Any, models: Mapping[str, nn.Module], folder: Path) -> Iterator[Panel]:
        """Draw one picture of all rows."""
        dataset = runner.val_dataloader.dataset
        chosen, batches = self.batches(runner, self.images)
        found = {
            name: nearest_elsewhere(one, self.nearest) for name, one in self._tokens(runner, models, batches).items()
        }
        order = [*[name for name in found if name != STUDENT], STUDENT]
        patches = len(found[STUDENT].places)
        rows = np.random.default_rng(self.seed).choice(patches, min(self.count, patches), replace=False).tolist()
        tokens = patches // len(chosen)

        def picture(place: int) -> NDArray[np.float64]:
            return self.picture_of(dataset[chosen[place // tokens]])

        path = folder / "neighbours.svg"
        self._draw(rows, tokens, {name: found[name] for name in order}, picture, path)
        caption = f"Patches of {len(chosen)} validation images; the number is the cosine."
        if "teacher" in found:
            shares = [
                f"{name} {100 * found[name].shared(found['teacher']):.0f} %" for name in order if name != "teacher"
            ]
            caption += (
                f" Of its {self.nearest} nearest patches, each model shares with the teacher: {', '.join(shares)}."
            )
        yield Panel("Nearest patches in other images", path, caption)

    def _objective(self, runner: Any) -> Any:
        objectives = getattr(unwrapped(runner.model), "objectives", {})
        if self.objective not in objectives:
            raise UsageError(
                f"PanelHook: there is no objective {self.objective!r}",
                where="model.objectives",
                got=", ".join(objectives) or "none",
                fix="name the one that compares tokens: objective='...'",
            )
        own = objectives[self.objective]
        if len(own.student_taps) != 1 or len(own.teacher_taps) != 1:
            raise UsageError(
                f"PanelHook: objective {self.objective!r} does not compare one value with one", where="model.objectives"
            )
        return own

    def _tokens(self, runner: Any, models: Mapping[str, nn.Module], batches: Any) -> dict[str, Tensor]:
        """Return the tokens ``(I, N, D)`` of the student, of its teacher, and of the reference."""
        objective = self._objective(runner)
        ((ours, tap),) = objective.student_taps.items()
        ((theirs, (teacher, its_tap)),) = objective.teacher_taps.items()
        its_name = teacher if teacher == "teacher" else f"teacher {teacher}"
        own = [name for name in models if name == STUDENT or not name.startswith("teacher")]
        read: dict[str, list[Tensor]] = {}
        for batch in batches:
            values = {name: _read(tap, student_of(models[name]), batch) for name in own}
            if its_name in models:
                value = _read(its_tap, models[its_name], batch)
                read.setdefault("teacher", []).append(_adapted(objective, theirs, value, values[STUDENT]))
            else:
                value = values[STUDENT]
            for name in own:
                read.setdefault(name, []).append(_adapted(objective, ours, values[name], value))
        return {name: torch.cat(parts).cpu() for name, parts in read.items()}

    def _draw(
        self, rows: Sequence[int], tokens: int, found: Mapping[str, Neighbours], picture: Any, path: Path
    ) -> None:
        columns = 1 + sum(one.places.shape[1] for one in found.values())
        with svg_figure(path, 1.1 * columns, 1.3 * len(rows) + 0.2) as figure:
            grid = figure.subplots(len(rows), columns, squeeze=False)
            for axes, row in zip(grid, rows, strict=True):
                _show(axes[0], picture(row), row % tokens, tokens, COLOURS.bad, "")
                places = [
                    (place, cosine, name)
                    for name, one in found.items()
                    for place, cosine in zip(one.places[row].tolist(), one.cosine[row].tolist(), strict=True)
                ]
                for cell, (place, cosine, name) in zip(axes[1:], places, strict=True):
                    _show(cell, picture(place), place % tokens, tokens, self.colour_of(name), f"{cosine:.2f}")
            grid[0][0].set_title("patch", fontsize=8)
            column = 1
            for name, one in found.items():
                grid[0][column].set_title(name, fontsize=8, color=self.colour_of(name), loc="left")
                column += one.places.shape[1]


def _show(axes: Axes, image: NDArray[np.float64], token: int, tokens: int, colour: str, text: str) -> None:
    height, width = image.shape[:2]
    rows, columns = grid_of(tokens, height, width)
    row, column = divmod(token, columns)
    tall, wide = height / rows, width / columns
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    axes.add_patch(
        Rectangle((column * wide - 0.5, row * tall - 0.5), wide, tall, fill=False, edgecolor=colour, linewidth=2)
    )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_xlabel(text, fontsize=7)


def _read(tap: Tap, model: Any, batch: Any) -> Tensor:
    tap.clear()
    stop = tap.attach(model)
    try:
        model.val_step(batch)
    finally:
        stop()
    value: Tensor = tap.read()
    return value


def _adapted(objective: Any, name: str, value: Tensor, like: Tensor) -> Tensor:
    if name not in objective.adapters:
        return value
    adapted: Tensor = objective.run_adapters(objective.adapters[name], name, value, like)
    return adapted
