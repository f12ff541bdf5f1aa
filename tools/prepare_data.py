"""Make or find the data sets that the configs name, below data/ (or wherever --folder says).

Examples:
    python tools/prepare_data.py docstrings
    python tools/prepare_data.py cranfield                            from KDHUB_DATA, or ../shared/data
    python tools/prepare_data.py cranfield --source ~/Downloads/cranfield-trec-dataset-main.zip
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import zipfile
from pathlib import Path

from kdhub.errors import KdhubError, UsageError
from kdret.data import cranfield, docstrings
from kdret.data.beir import load_split

ROOT = Path(__file__).resolve().parents[1]
CRANFIELD = "https://github.com/oussbenk/cranfield-trec-dataset"


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="data", required=True)
    made = commands.add_parser("docstrings", help="the docstrings of this Python and of the installed packages")
    made.add_argument("--folder", type=Path, default=ROOT / "data/docstrings")
    made.add_argument("--stdlib-only", action="store_true", help="leave installed packages out")
    found = commands.add_parser("cranfield", help=f"1,400 abstracts on aeronautics; original: {CRANFIELD}")
    found.add_argument("--folder", type=Path, default=ROOT / "data/cranfield")
    found.add_argument("--source", type=Path, help="prepared folder to link, or the original as a folder or .zip")
    options = parser.parse_args(argv)
    try:
        options.folder.parent.mkdir(parents=True, exist_ok=True)
        if options.data == "docstrings":
            counts = docstrings.build(options.folder, installed=not options.stdlib_only)["documents"]
            print(f"{options.folder}: " + ", ".join(f"{count} {split}" for split, count in counts.items()))
        else:
            prepare_cranfield(options.folder, options.source)
    except KdhubError as error:
        print(f"prepare_data: error: {error}", file=sys.stderr)
        return 2
    return 0


def prepare_cranfield(folder: Path, source: Path | None) -> None:
    """Link a prepared folder, or convert the original, and see that the result reads.

    Raises:
        UsageError: If there is no source, it is not Cranfield, or ``folder`` is taken.
    """
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} is there already", fix="remove it to prepare it again")
    source = _cranfield_source(source)
    if source.suffix == ".zip":
        with tempfile.TemporaryDirectory() as unpacked:
            try:
                zipfile.ZipFile(source).extractall(unpacked)
            except (OSError, zipfile.BadZipFile) as error:
                raise UsageError("cannot unpack", where=str(source), got=str(error), fix="download it again") from error
            _convert(Path(unpacked), folder)
    elif any(source.glob("corpus.jsonl*")):
        folder.symlink_to(source.resolve(), target_is_directory=True)
    else:
        _convert(source, folder)
    counts = {split: len(load_split(folder, split).queries) for split in ("train", "dev")}
    print(f"{folder}: " + ", ".join(f"{count} {split} queries" for split, count in counts.items()))


def _cranfield_source(source: Path | None) -> Path:
    if source is not None:
        if not source.exists():
            raise UsageError(f"no {source}", expected=f"the collection of {CRANFIELD}, as a folder or .zip")
        return source
    places = [Path(os.environ["KDHUB_DATA"])] if os.environ.get("KDHUB_DATA") else []
    for place in (*places, ROOT.parent / "shared/data"):
        if (place / "cranfield").is_dir():
            return place / "cranfield"
    raise UsageError(
        "no Cranfield collection on this machine",
        fix=f"download {CRANFIELD}/archive/refs/heads/main.zip and give it with --source",
    )


def _convert(source: Path, folder: Path) -> None:
    originals = [source, *(path for path in source.iterdir() if path.is_dir())]
    original = next((path for path in originals if (path / cranfield.DOCUMENTS).is_file()), source)
    with tempfile.TemporaryDirectory(dir=folder.parent) as staging:
        made = Path(staging, folder.name)
        made.mkdir()
        cranfield.convert(original, made)
        made.rename(folder)


if __name__ == "__main__":
    sys.exit(main())
