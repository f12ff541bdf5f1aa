"""Curves as SVG that takes its colours from the page around it, so that it reads in light and in dark."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kdhub.engine.report.curves import Curve

# colours that matplotlib never chooses by itself, exchanged for the page's own in the finished picture
_PAGE_COLOURS = {
    "#010203": "currentColor",
    "#010204": "var(--line)",
    "#010205": "var(--reference)",
    "#010206": "var(--other)",
}
_INK, _LINE, _REFERENCE, _OTHER = _PAGE_COLOURS
_SETTINGS: Any = {
    "svg.fonttype": "none",
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
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure = Figure(figsize=(3.6, 2.1), layout="constrained")
        axes = figure.add_subplot()
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
        axes.margins(y=0.16)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        picture = io.StringIO()
        FigureCanvasSVG(figure).print_svg(picture, metadata={"Date": None, "Creator": None})
    return _for_page(picture.getvalue(), name)


def _plot(axes: Axes, curve: Curve, colour: str) -> None:
    steps, values = zip(*curve, strict=True)
    axes.plot(steps, values, color=colour, linewidth=1.6, marker="o" if len(curve) <= 20 else "", markersize=3.5)


def _for_page(svg: str, name: str) -> str:
    """Cut the element out of the document, let the page colour it, and keep its names apart from its neighbours'."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    for drawn, meant in _PAGE_COLOURS.items():
        svg = svg.replace(drawn, meant)
    prefix = re.sub(r"\W", "-", name)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(url\(#|xlink:href="#)', rf"\g<1>{prefix}-", svg)
    return re.sub(
        r'width="[\d.]+pt" height="[\d.]+pt"', f'role="img" aria-label="{html.escape(name, quote=True)}"', svg, count=1
    )
