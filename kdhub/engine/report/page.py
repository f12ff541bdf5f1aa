"""What pages about runs have in common: the template's surroundings, numbers as people read them, pictures inside the page."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2

from kdhub.engine.report.charts import DARK, LIGHT, variables
from kdhub.engine.workdir.run_card import PICTURES

NEXT = "next"
"""Key of a plugin's lines in the run card that holds commands to suggest: what for, to what to type."""


def rendered(template: str, **facts: Any) -> str:
    """Fill a template of ``kdhub/engine/templates``; whatever the facts hold is text, and never read as HTML.

    Args:
        template: Its file name.
        facts: What it names.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kdhub.engine"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = number
    environment.filters["text"] = text
    return environment.get_template(template).render(light=variables(LIGHT), dark=variables(DARK), **facts)


def is_number(value: Any) -> bool:
    """Whether a value of a run card is a number; infinities and NaN stand there as text."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def number(value: Any) -> str:
    """Write a number for a table: four significant digits, thousands apart."""
    if not is_number(value):
        return "–" if value is None else str(value)
    if isinstance(value, int) or abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def text(value: Any) -> str:
    """Write any value of a run card on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {text(entry)}" for name, entry in value.items())
    return number(value) if not isinstance(value, list) else ", ".join(map(text, value))


def pictures(work_dir: Path, run: Mapping[str, Any]) -> Iterator[dict[str, str | None]]:
    """Give each picture with its bytes as a ``data:`` URL, or ``None`` for a file that is not there any more."""
    for picture in run.get("pictures") or []:
        file = work_dir / picture["path"]
        source = None
        if file.is_file():
            source = f"data:{PICTURES[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"
        yield {**picture, "source": source}


def plugin_facts(run: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the lines of each plugin, without the commands that it suggests."""
    return {
        plugin: {key: text(value) for key, value in lines.items() if key != NEXT}
        for plugin, lines in (run.get("plugins") or {}).items()
        if set(lines) - {NEXT}
    }
