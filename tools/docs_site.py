"""Build the documentation site from README, docs, the plugins' pages and the reference that the code writes.

The pages keep their places, so that a link works on the site as it does in the repository. A link to a file that is no page, such as a
test, leads nowhere on the site; it is written as code there. Zensical, which builds the site, stops at every other link that is broken.

Usage: pip install '.[docs]' and python tools/docs_site.py [--into build/site]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = {
    "Tutorials": "docs/tutorials",
    "How to": "docs/how-to",
    "Methods": "docs/methods",
    "Explanation": "docs/explanation",
    "Plugins": "plugins",
    "Configs": "configs",
    "Reference": "docs/reference",
}
LINK = re.compile(r"\[([^\]\[]+)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def main() -> None:
    """Build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=ROOT / "build" / "site", help="folder of the site")
    folder = parser.parse_args().into.resolve()
    pages = folder / "pages"
    for made in (pages, folder / "html"):
        shutil.rmtree(made, ignore_errors=True)
    stage(pages)
    (folder / "zensical.toml").write_text(config(pages), encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", folder / "zensical.toml"]
    done = subprocess.run(command, check=False, env={**os.environ, "NO_COLOR": "1"})
    if done.returncode:
        sys.exit(f"docs_site: error: a page of {pages} is not in order -> mend the page that is named above")
    print(f"site: {folder / 'html' / 'index.html'}")


def stage(folder: Path) -> None:
    """Copy every page to its place, and write those of the reference."""
    from docs_reference import pages

    from kdhub.plugins import Switches, load_plugins

    for page in written_pages():
        target = folder / page.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    for picture in ROOT.glob("docs/**/*.svg"):
        shutil.copy(picture, folder / picture.relative_to(ROOT))
    for name, text in pages(load_plugins(Switches())):
        target = folder / "docs" / "reference" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    for page in folder.rglob("*.md"):
        page.write_text(without_links_to_files(page.read_text(encoding="utf-8"), page, folder), encoding="utf-8")


def written_pages() -> Iterator[Path]:
    """Yield the pages of the repository."""
    yield from (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "changes/README.md")
    for place in ("docs/**/*.md", "plugins/*/README.md", "configs/*/README.md"):
        yield from sorted(ROOT.glob(place))


def without_links_to_files(text: str, page: Path, folder: Path) -> str:
    """Take the link from what is a file of the repository and no page; any other broken link stays, to be found."""

    def kept(match: re.Match[str]) -> str:
        place = Path(os.path.normpath(page.parent / match[2]))
        in_repository = ROOT / place.relative_to(folder) if place.is_relative_to(folder) else place
        return match[1] if not place.is_file() and in_repository.exists() else match[0]

    return LINK.sub(kept, text)


def config(folder: Path) -> str:
    """Return the settings of the site."""
    nav: list[dict[str, object]] = [{"Start": "README.md"}]
    for title, place in SECTIONS.items():
        pages = sorted((folder / place).rglob("*.md"), key=lambda page: (len(page.parts), page))
        nav.append({title: [{_title(page): page.relative_to(folder).as_posix()} for page in pages]})
    return "\n".join(
        [
            "[project]",
            'site_name = "kdhub"',
            'site_description = "One registry of knowledge-distillation methods for images, text and retrieval"',
            'docs_dir = "pages"',
            'site_dir = "html"',
            f"nav = {_toml(nav)}",
            "[project.theme]",
            'features = ["content.code.copy", "navigation.sections", "navigation.top", "search.highlight", "toc.follow"]',
            "[[project.theme.palette]]",
            'media = "(prefers-color-scheme: light)"',
            'scheme = "default"',
            'toggle = { icon = "lucide/sun", name = "Dark" }',
            "[[project.theme.palette]]",
            'media = "(prefers-color-scheme: dark)"',
            'scheme = "slate"',
            'toggle = { icon = "lucide/moon", name = "Light" }',
            "",
        ]
    )


def _title(page: Path) -> str:
    first = page.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("# ").strip()


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


if __name__ == "__main__":
    main()
