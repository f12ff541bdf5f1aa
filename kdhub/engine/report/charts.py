"""Pictures as SVG that read in light and in dark: curves inside the page, and figures of plugins as files of their own."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kdhub.engine.report.curves import Curve
from kdhub.files import write_text

LIGHT = {
    "page": "#fbfbfa",
    "card": "#ffffff",
    "ink": "#1d2127",
    "quiet": "#626b76",
    "rule": "#e3e5e8",
    "line": "#2563b8",
    "reference": "#b4540a",
    "other": "#6b7280",
    "good": "#1a7f43",
    "bad": "#b3261e",
    "code": "#f1f2f4",
    "series1": "#2563b8",
    "series2": "#b4540a",
    "series3": "#1a7f43",
    "series4": "#8a3fa0",
    "series5": "#7a5c00",
    "series6": "#4b5563",
}
"""Colours of the page by name."""
DARK = {
    "page": "#14171b",
    "card": "#1b1f25",
    "ink": "#e4e7eb",
    "quiet": "#98a2ae",
    "rule": "#2d333b",
    "line": "#6ea8fe",
    "reference": "#f0a35e",
    "other": "#9aa3b2",
    "good": "#5ccb86",
    "bad": "#ff8a80",
    "code": "#242a32",
    "series1": "#6ea8fe",
    "series2": "#f0a35e",
    "series3": "#5ccb86",
    "series4": "#d59bea",
    "series5": "#d9c04a",
    "series6": "#c3cad4",
}
"""The same where the reader's system is dark."""


class Colours(NamedTuple):
    """Colours that matplotlib never chooses by itself, exchanged for the page's own in the finished picture.

    Attributes:
        ink: Text and axes.
        line: What the picture is about: the student.
        reference: What it is compared with: the teacher.
        other: What stands beside it: the student alone.
        good: Gained.
        bad: Lost.
    """

    ink: str = "#010203"
    line: str = "#010204"
    reference: str = "#010205"
    other: str = "#010206"
    good: str = "#010207"
    bad: str = "#010208"


COLOURS = Colours()
_INK, _LINE, _REFERENCE, _OTHER = COLOURS[:4]
_SERIES = {f"series{number}": f"#01020{letter}" for number, letter in zip(range(1, 7), "9abcde", strict=True)}
"""Colours for runs side by side, exchanged in the same way."""
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (5, 2, 1, 2)), (0, (9, 3)), (0, (3, 1, 1, 1, 1, 1)))
"""One for each colour, so that nobody has to tell colours apart."""
_LEGEND = 26
"""Characters of a label that a legend has room for."""
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "grid.color": _INK,
    "grid.alpha": 0.14,
    "grid.linewidth": 0.6,
}


def chart(
    name: str,
    curve: Curve,
    references: Mapping[str, float] | None = None,
    others: Mapping[str, Curve] | None = None,
) -> str:
    """Draw one curve, and others behind it.

    Args:
        name: What it shows; also makes the picture's internal names unique on a page.
        curve: Pairs of iteration and value; drawn with markers if they are few.
        references: Label to value of horizontal lines, such as what the teacher reaches.
        others: Label to curve of other runs, such as that of the student alone; the label stands at the curve's end.

    Returns:
        An ``<svg>`` element.
    """

    def draw(axes: Axes) -> None:
        for label, other in (others or {}).items():
            _plot(axes, other, _OTHER)
            axes.annotate(
                label,
                other[-1],
                xytext=(0, -4),
                textcoords="offset points",
                color=_OTHER,
                ha="right",
                va="top",
                fontsize=8,
            )
        _plot(axes, curve, _LINE)
        for label, value in (references or {}).items():
            axes.axhline(value, color=_REFERENCE, linewidth=1.1, linestyle=(0, (4, 3)))
            axes.annotate(
                label,
                (1, value),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                color=_REFERENCE,
                ha="right",
                fontsize=8,
            )

    ends = [f"ends at {curve[-1][1]:.4g}", *(f"{label} {value:.4g}" for label, value in (references or {}).items())]
    ends += [f"{label} ends at {other[-1][1]:.4g}" for label, other in (others or {}).items()]
    return _page_picture(name, ", ".join(ends), draw)


def overlay(name: str, groups: Mapping[str, Sequence[Curve]]) -> str:
    """Draw the curves of several runs over each other.

    Args:
        name: As in `chart`.
        groups: Label to the curves that share it, such as one for each seed. Each label has a colour and a dash.

    Returns:
        An ``<svg>`` element with a legend below the axes.
    """

    def draw(axes: Axes) -> None:
        for number, (label, curves) in enumerate(groups.items()):
            colour, dash = list(_SERIES.values())[number % len(_SERIES)], _DASHES[number % len(_DASHES)]
            for index, curve in enumerate(curves):
                _plot(axes, curve, colour, dash, label=_shortened(label) if index == 0 else None)
        axes.figure.legend(loc="outside lower left", frameon=False, fontsize=8, ncols=2, handlelength=2.8)

    ends = "; ".join(
        f"{label} ends at {' and '.join(f'{curve[-1][1]:.4g}' for curve in curves)}" for label, curves in groups.items()
    )
    rows = (len(groups) + 1) // 2
    return _page_picture(name, ends, draw, height=2.2 + 0.18 * rows)


def _shortened(label: str) -> str:
    """Leave out the middle: runs of one study are told apart by their ends."""
    label = label if len(label) <= _LEGEND else f"{label[:10]}…{label[11 - _LEGEND :]}"
    return f"\u200b{label}" if label.startswith("_") else label  # which matplotlib would leave out


def _page_picture(name: str, says: str, draw: Callable[[Axes], None], height: float = 2.1) -> str:
    """Draw axes for the page; who cannot see the picture hears its name and what it says."""
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure = Figure(figsize=(3.6, height), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.margins(y=0.16)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        picture = io.StringIO()
        FigureCanvasSVG(figure).print_svg(picture, metadata={"Date": None, "Creator": None})
    return _for_page(picture.getvalue(), name, f"{name}: {says}")


@contextmanager
def svg_figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Draw a figure for `RunCard.add_picture` that reads in light and in dark; text stays text, and is never read as TeX.

    Args:
        path: The file, ``.svg``; it is written when the block ends.
        width: In inches; the page is about 10 wide.
        height: In inches.

    Yields:
        An empty figure of matplotlib, laid out by itself. Use `COLOURS`: they follow the page.
    """
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": path.name}):
        figure = Figure(figsize=(width, height), dpi=144, layout="constrained")
        yield figure
        drawn = io.StringIO()
        FigureCanvasSVG(figure).print_svg(drawn, metadata={"Date": None, "Creator": None})
    svg = _coloured(_element(drawn.getvalue()))
    style = "".join(
        f"{begin}:root{{color:{colours['ink']};{variables(colours)}}}{end}"
        for begin, colours, end in (("", LIGHT, ""), ("@media(prefers-color-scheme:dark){", DARK, "}"))
    )
    write_text(path, re.sub(r"(<svg[^>]*>)", rf"\g<1><style>{style}</style>", svg, count=1))


def _element(svg: str) -> str:
    """Cut the element out of the document."""
    return re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)


def variables(colours: Mapping[str, str]) -> str:
    """Write colours as variables of CSS."""
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())


def _coloured(svg: str) -> str:
    for name, drawn in (COLOURS._asdict() | _SERIES).items():
        svg = svg.replace(drawn, "currentColor" if name == "ink" else f"var(--{name})")
    return svg


def _plot(axes: Axes, curve: Curve, colour: str, dash: Any = "-", label: str | None = None) -> None:
    steps, values = zip(*curve, strict=True)
    marker = "o" if len(curve) <= 20 else ""
    axes.plot(steps, values, color=colour, linestyle=dash, linewidth=1.6, marker=marker, markersize=3.5, label=label)


def _for_page(svg: str, name: str, label: str) -> str:
    """Let the page colour a picture inside it, and keep its names apart from its neighbours'."""
    svg = _coloured(_element(svg))
    prefix = re.sub(r"\W", "-", name)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(#|xlink:href="#)', rf"\g<1>{prefix}-", svg)
    said = html.escape(label, quote=True)
    return re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', lambda _: f'role="img" aria-label="{said}"', svg, count=1)
