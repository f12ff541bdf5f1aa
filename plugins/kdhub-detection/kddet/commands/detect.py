"""``kdhub detect``: what an exported detector finds in a picture, by the names that one types."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kdhub.api import Parser, UsageError, add_json

if TYPE_CHECKING:
    from PIL.Image import Image

TEXT = """Find objects in a picture with the student that a run left, draw them, and print them.

A student whose classes are names (kddet.TextClassifier, as in kddet:ezad) finds any other names as well: --names embeds them with
the text model of the run.

Examples:
  kdhub detect work_dirs/coco-cc-heatmap street.jpg
  kdhub detect work_dirs/ezad zoo.jpg --names "zebra,umbrella" --threshold 0.1
  kdhub detect work_dirs/ezad zoo.jpg --json"""


class Found(NamedTuple):
    """An object: its name, how sure the detector is, and its box in pixels."""

    name: str
    score: float
    box: tuple[float, ...]


def main(argv: list[str]) -> int:
    """Detect; return the exit code."""
    parser = Parser("detect", TEXT)
    parser.add_argument("work_dir", help="folder of a run, or its student/")
    parser.add_argument("image", help="the picture")
    parser.add_argument("--names", help="other class names, separated by commas")
    parser.add_argument("--text-model", help="image-text model for --names, if it is not where the run had it")
    parser.add_argument("--threshold", type=float, default=0.3, help="least score (default 0.3)")
    parser.add_argument("--out", help="where to draw (default: the picture's name with -detected.png, in this folder)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    add_json(parser)
    options = parser.parse(argv)

    folder = _student(Path(options.work_dir))
    names = _names(options.names) if options.names is not None else None
    image = _image(Path(options.image))
    out = _writable(Path(options.out or f"{Path(options.image).stem}-detected.png"))
    found = [
        one
        for one in detect(folder, image, names, options.text_model, options.device)
        if one.score >= options.threshold
    ]
    draw(image, found).save(out)
    if options.json:
        rows = [{"name": one.name, "score": one.score, "box": list(one.box)} for one in found]
        print(json.dumps({"image": options.image, "picture": str(out), "objects": rows}))
        return 0
    for one in found:
        print(f"{one.score:5.2f}  {one.name:20s}  " + " ".join(f"{value:6.0f}" for value in one.box))
    print(f"{len(found)} objects with a score of at least {options.threshold:g}; drawn in {out}")
    return 0


def detect(
    folder: Path, image: Image, names: Sequence[str] | None = None, text_model: str | None = None, device: str = "cpu"
) -> list[Found]:
    """Run an exported student on a picture.

    Args:
        folder: Where it was exported to.
        image: RGB.
        names: Other class names; ``None`` keeps the student's own.
        text_model: What embeds them; ``None`` takes that of the run.
        device: Where to run.

    Returns:
        What was found, the surest first, whatever its score.

    Raises:
        UsageError: If there is no such device, or the names cannot be embedded.
    """
    _see_device(device)
    import numpy as np
    from mmdet.apis import inference_detector, init_detector

    from kdhub.api import safe_loading

    # mmengine prints what it loads, and stdout is for what was found
    with safe_loading(), redirect_stdout(sys.stderr):
        detector = init_detector(
            str(folder / "config.py"), str(folder / "student.pth"), palette="random", device=device
        )
    if names is not None:
        _rename(detector, folder, names, text_model)
    classes = detector.dataset_meta["classes"]
    # mmdet reads BGR
    result: Any = inference_detector(detector, np.ascontiguousarray(np.asarray(image)[..., ::-1]))
    objects = result.pred_instances.cpu()
    order = objects.scores.argsort(descending=True).tolist()
    return [
        Found(
            classes[int(objects.labels[place])],
            float(objects.scores[place]),
            tuple(round(float(value), 1) for value in objects.bboxes[place]),
        )
        for place in order
    ]


def draw(image: Image, found: Sequence[Found]) -> Image:
    """Draw boxes, names and scores on a copy of a picture, the surest on top."""
    from colorsys import hsv_to_rgb

    from PIL import ImageDraw

    drawn = image.copy()
    pen = ImageDraw.Draw(drawn)
    hues = {name: place for place, name in enumerate(sorted({one.name for one in found}))}
    for one in reversed(found):
        red, green, blue = hsv_to_rgb(hues[one.name] * 0.618 % 1, 1, 0.85)
        colour = (int(255 * red), int(255 * green), int(255 * blue))
        x1, y1, x2, y2 = one.box
        pen.rectangle((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), outline=colour, width=2)
        text = f"{one.name} {one.score:.2f}"
        place = (x1, max(0, y1 - 11))
        pen.rectangle(pen.textbbox(place, text), fill=colour)
        pen.text(place, text, fill="white")
    return drawn


def _rename(detector: Any, folder: Path, names: Sequence[str], text_model: str | None) -> None:
    from kddet.regions.baked import rename, source_of
    from kddet.regions.image_text import load_image_text

    source = text_model or source_of(folder)
    if not source:
        raise UsageError("the run does not say which text model its names are from", fix="give --text-model FOLDER")
    try:
        bank = load_image_text(source).bank(names, source)
    except UsageError as error:
        if text_model is None and not error.fix:
            error.replace_fix("give its folder with --text-model")
        raise
    rename(detector, folder, bank)


def _student(folder: Path) -> Path:
    for place in (folder, folder / "student"):
        if (place / "config.py").is_file() and (place / "student.pth").is_file():
            return place
    raise UsageError(
        "no exported detector here",
        where=str(folder),
        expected="config.py and student.pth, in the folder or its student/",
        fix="give the work_dir of a finished run",
    )


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UsageError("no names", where="--names", expected='such as "zebra,umbrella"', got=repr(text))
    return names


def _writable(path: Path) -> Path:
    """See, before anything is computed, that the picture can be written."""
    import PIL.Image

    if not path.parent.is_dir():
        raise UsageError("no such folder", where="--out", got=str(path.parent), fix="make it, or give another")
    kind = PIL.Image.registered_extensions().get(path.suffix.lower())
    if kind not in PIL.Image.SAVE:
        raise UsageError(
            "no kind of picture has this ending", where="--out", expected="such as .png or .jpg", got=repr(path.name)
        )
    return path


def _see_device(device: str) -> None:
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise UsageError("no such device", where="--device", expected="cpu or cuda", got=repr(device)) from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no GPU that torch can use", where="--device", got=device, fix="--device cpu")


def _image(path: Path) -> Image:
    import PIL.Image

    try:
        with PIL.Image.open(path) as opened:
            return opened.convert("RGB")
    except OSError as error:
        raise UsageError("cannot read the picture", where=str(path), got=str(error)) from error
