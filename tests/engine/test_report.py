"""The report tells what happened, in one file that needs nothing else."""

from __future__ import annotations

import collections
import html
import html.parser
import json
import re
import shlex
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import tiny
from packaging.version import Version

from kdhub.engine.report.charts import COLOURS, chart, svg_figure
from kdhub.engine.report.curves import read_curves
from kdhub.engine.report.report import number, write_report
from kdhub.engine.train import train
from kdhub.engine.workdir.run_card import RunCard
from kdhub.errors import UsageError
from kdhub.sealed import write_sealed

_EMPTY_TAGS = {"meta", "link", "br", "img", "hr", "input"}


class Page(html.parser.HTMLParser):
    """Collects ids, attributes and the text of cells; complains about tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: collections.Counter[str] = collections.Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.cells: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids.update(value or "" for name, value in attrs if name == "id")
        if tag not in _EMPTY_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _EMPTY_TAGS:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data.strip())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train once."""
    return train(tiny.config(tmp_path_factory.mktemp("report") / "run", model=tiny.distiller())).work_dir


def test_the_page_is_whole_and_stands_alone(run: Path) -> None:
    """A report that loads anything from elsewhere is blank on a plane and in ten years."""
    text = (run / "report.html").read_text()
    page = Page(text)
    assert [name for name, count in page.ids.items() if count > 1] == []
    outside = [
        (tag, name, value)
        for tag, name, value in page.attributes
        if name in ("src", "href", "xlink:href") and not value.startswith("#")
    ]
    assert outside == []
    assert not re.search(r"@import|url\((?!#)|<script|\bNone\b|\bnan\b", text)
    used = {value[1:] for _, name, value in page.attributes if name == "xlink:href"}
    used |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert used <= set(page.ids)


def test_the_table_compares_teacher_and_student(run: Path) -> None:
    """Numbers under the wrong heading would be believed."""
    card = json.loads((run / "run.json").read_text())
    teacher, before = (card["baselines"][key] for key in ("teachers", "student"))
    after = card["evaluations"][-1]["metrics"]["tiny/accuracy"]
    cells = Page((run / "report.html").read_text()).cells
    assert cells[:4] == ["teacher", "student before", "student after", "since start"]
    row = cells[cells.index("tiny/accuracy") + 1 :][:3]
    assert row == [number(teacher["teacher"]["tiny/accuracy"]), number(before["tiny/accuracy"]), number(after)]
    assert cells[cells.index("parameters") + 1 :][:3] == ["42", "22", "22"]


def test_gained_is_the_difference_to_the_student_alone(run: Path, tmp_path: Path) -> None:
    """The difference to the untrained start was called "gained": labels taught most of it, and a run that lost looked a success."""
    card = json.loads((run / "run.json").read_text())
    assert "gained" not in (run / "report.html").read_text().replace("what distillation gained, train with", "")
    card["baselines"] = {"teachers": {"teacher": {"a": 99.0}}, "student": {"a": 10.0}}
    card["evaluations"] = [{"iteration": 6, "metrics": {"a": 59.25, "only": 1.0}}]
    card["alone"] = {
        "path": "alone",
        "evaluations": [{"iteration": 6, "metrics": {"a": 90.5}}],
        "compares_with": card["experiment"],
    }
    write_sealed(tmp_path / "run.json", card)
    text = write_report(tmp_path).read_text()
    cells = Page(text).cells
    assert cells[:5] == ["teacher", "student before", "alone", "distilled", "gained"]
    assert cells[cells.index("a") + 1 :][:5] == ["99", "10", "90.5", "59.25", "-31.25"]
    assert cells[cells.index("only") + 1 :][:4] == ["–", "–", "–", "1"]
    assert ">alone</text>" in text.split("<figcaption>a</figcaption>")[1].split("</figure>")[0]
    assert ">alone</text>" not in text.split("<figcaption>only</figcaption>")[1]


@pytest.mark.parametrize("stale", ["experiment", "evaluations"])
def test_another_experiment_alone_is_not_compared(run: Path, tmp_path: Path, stale: str) -> None:
    """A run that was resumed with another config has no comparison, though its card still holds one."""
    card = json.loads((run / "run.json").read_text())
    alone = {"path": "alone", "evaluations": card["evaluations"], "compares_with": dict(card["experiment"])}
    if stale == "experiment":
        alone["compares_with"]["train_cfg"] = "0" * 12
    else:
        alone["evaluations"] = []
    write_sealed(tmp_path / "run.json", {**card, "alone": alone})
    cells = Page(write_report(tmp_path).read_text()).cells
    assert cells[:4] == ["teacher", "student before", "student after", "since start"]


def test_every_term_has_its_curve(run: Path) -> None:
    """A term that is not drawn is not looked at."""
    text = (run / "report.html").read_text()
    for name in ("loss", "loss_ce", "loss_logits", "lr", "tiny/accuracy"):
        assert f"<figcaption>{name}</figcaption>" in text
    curves = read_curves(run, [one["log"] for one in json.loads((run / "run.json").read_text())["sessions"]])
    assert [step for step, _ in curves["loss"]] == [1, 2, 3, 4, 5, 6]


def test_markup_in_names_is_text(run: Path, tmp_path: Path) -> None:
    """A config or an error may hold any character."""
    card = json.loads((run / "run.json").read_text())
    card["error"] = "<b>oops</b> & more"
    card["evaluations"][-1]["metrics"]["a<b"] = 1.0
    write_sealed(tmp_path / "run.json", card)
    (tmp_path / "config.py").write_text("model = '</pre><h1>'\n")
    text = write_report(tmp_path).read_text()
    assert "&lt;b&gt;oops&lt;/b&gt; &amp; more" in text
    assert "<h1>'" not in text
    Page(text)


def test_pictures_are_inside_the_page(run: Path, tmp_path: Path) -> None:
    """A report that is mailed without its folder must still show what it talks about."""
    card = RunCard(tmp_path, json.loads((run / "run.json").read_text()))
    (tmp_path / "pictures").mkdir()
    for name, content in (("street.png", b"one"), ("gone.png", b"two")):
        file = tmp_path / "pictures" / name
        file.write_bytes(content)
        card.add_picture(f"<{name}>", file, caption="where they differ")
    card.write()
    (tmp_path / "pictures/gone.png").unlink()
    text = write_report(tmp_path).read_text()
    page = Page(text)
    sources = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert sources == ["data:image/png;base64,b25l"]
    assert "<figcaption>&lt;street.png&gt;</figcaption>" in text
    assert "<code>pictures/gone.png</code> is not there any more" in text
    assert text.index("<h2>Evaluations") < text.index("<h2>Pictures") < text.index("<h2>Student")


def test_a_picture_is_replaced_by_its_next_version(tmp_path: Path) -> None:
    """A resumed run draws again; the report must not show the former student beside the new one."""
    card = RunCard(tmp_path)
    card.add_picture("first", tmp_path / "a.png")
    card.add_picture("other", tmp_path / "b.jpg")
    card.add_picture("second", tmp_path / "a.png", caption="after more steps")
    assert [(one["title"], one["path"]) for one in card.content["pictures"]] == [
        ("second", "a.png"),
        ("other", "b.jpg"),
    ]


@pytest.mark.parametrize("name", ["../a.png", "a.pdf"])
def test_a_picture_that_cannot_be_embedded(tmp_path: Path, name: str) -> None:
    """A path that leaves the work_dir breaks when the folder is moved, and browsers show no PDF in a page."""
    with pytest.raises(UsageError, match=r"cannot be a picture of the report.*\.png or \.jpg or \.svg in "):
        RunCard(tmp_path / "run").add_picture("title", tmp_path / "run" / name)


def test_a_figure_follows_the_page(run: Path, tmp_path: Path) -> None:
    """Black text on a dark page cannot be read, and a class called ``$a_b$`` must not be set as a formula."""
    card = RunCard(tmp_path, json.loads((run / "run.json").read_text()))
    with svg_figure(tmp_path / "figure.svg", 3, 2) as figure:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=COLOURS.line)
        axes.set_title("<script> $a_b$")
    card.add_picture("a figure", tmp_path / "figure.svg")
    card.write()
    svg = (tmp_path / "figure.svg").read_text()
    assert ET.fromstring(svg).tag.endswith("svg")
    assert "@media(prefers-color-scheme:dark)" in svg
    assert "var(--line)" in svg
    assert not any(colour in svg for colour in COLOURS)
    assert "&lt;script&gt; $a_b$" in svg
    assert 'src="data:image/svg+xml;base64,' in write_report(tmp_path).read_text()


def test_a_table_shows_text_as_it_is(run: Path, tmp_path: Path) -> None:
    """A passage of the web that holds a script would run it in the reader's browser."""
    card = RunCard(tmp_path, json.loads((run / "run.json").read_text()))
    card.add_table("Queries", ["query", "gained"], [["former", 1.0]])
    card.add_table("Queries", ["query", "gained"], [["<script>alert(1)</script>", 0.25], ["half \ud800", 2]], "why")
    card.write()
    text = write_report(tmp_path).read_text()
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt;</td><td>0.25</td>" in text
    assert "<script" not in text
    assert "former" not in text
    Page(text)


def test_plugins_add_lines_and_commands(run: Path, tmp_path: Path) -> None:
    """What a plugin knows to do next with the student is what the reader wants to do next."""
    card = json.loads((run / "run.json").read_text())
    card["plugins"] = {"kdret": {"index": "exact", "next": {"search with it": 'kdhub search run "read a csv file"'}}}
    write_sealed(tmp_path / "run.json", card)
    text = write_report(tmp_path).read_text()
    assert "<dt>index</dt><dd>exact</dd>" in text
    assert "kdhub search run &#34;read a csv file&#34;" in text


@pytest.mark.parametrize("status", ["finished", "interrupted"])
def test_suggested_commands_can_be_typed_for_any_folder(run: Path, tmp_path: Path, status: str) -> None:
    """A path with a space came out as two arguments, so that another folder was read or written."""
    folder = tmp_path / "my runs"
    folder.mkdir()
    write_sealed(folder / "run.json", json.loads((run / "run.json").read_text()) | {"status": status})
    (folder / "config.py").write_text("test_dataloader = dict()\n")
    (folder / "iter_3.pth").write_bytes(b"")
    (folder / "last_checkpoint").write_text("iter_3.pth")
    page = html.unescape(write_report(folder).read_text())
    commands = [shlex.split(line) for line in re.findall(r"kdhub (?:train|test) .*?(?=</pre>)", page)]
    expected = [["kdhub", "test", f"{folder}/config.py", f"{folder}/iter_3.pth"]]
    if status == "interrupted":
        expected = [["kdhub", "train", f"{folder}/config.py", "--resume"]]
    assert commands == [*expected, ["kdhub", "train", f"{folder}/config.py", "--work-dir", "ANOTHER"]]


def test_an_interrupted_run_says_how_to_go_on(run: Path, tmp_path: Path) -> None:
    """The report of a stopped run is read to find out what to do."""
    card = json.loads((run / "run.json").read_text())
    card |= {"status": "interrupted", "evaluations": [], "baselines": {"teachers": {}}}
    write_sealed(tmp_path / "run.json", card)
    assert f"kdhub train {tmp_path}/config.py --resume" not in write_report(tmp_path).read_text()  # nothing was saved
    (tmp_path / "iter_3.pth").write_bytes(b"")
    (tmp_path / "last_checkpoint").write_text("iter_3.pth")
    text = write_report(tmp_path).read_text()
    assert f"kdhub train {tmp_path}/config.py --resume" in text
    assert "student after" not in text


def test_curves_of_a_resumed_run_join(tmp_path: Path) -> None:
    """Iterations that were run twice must not be drawn twice, nor a line cut off by a crash stop the report."""

    def log(name: str, *steps: int) -> None:
        (tmp_path / name / "vis_data").mkdir(parents=True)
        lines = [json.dumps({"loss": float(f"{step}.{len(name)}"), "iter": step, "step": step}) for step in steps]
        (tmp_path / name / "vis_data" / "scalars.json").write_text("\n".join([*lines, '{"loss": 1.0, "it']))

    log("first", 1, 2, 3, 4)
    log("second", 3, 4, 5)
    curves = read_curves(tmp_path, ["first", "second", "second", "absent"])
    assert curves == {"loss": [(1, 1.5), (2, 2.5), (3, 3.6), (4, 4.6), (5, 5.6)]}


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    """The command takes any path."""
    with pytest.raises(UsageError, match=r"no run to report.*run\.json"):
        write_report(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UsageError, match=r"run\.json is damaged"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        (0.123456, "0.1235"),
        (1234567, "1,234,567"),
        (12345.6, "12,346"),
        (None, "–"),
        ("nan", "nan"),
        (1.0, "1"),
    ],
)
def test_numbers_are_readable(value: Any, text: str) -> None:
    """Sixteen digits hide the two that matter."""
    assert number(value) == text


def test_a_chart_takes_the_pages_colours() -> None:
    """Black on black is what a report in dark mode had."""
    picture = chart("loss", [(0, 1.0), (1, 0.5)], {"teacher": 0.4})
    assert "currentColor" in picture
    assert "var(--line)" in picture
    assert "var(--reference)" in picture
    assert not re.search(r"#(?:0{6}|f{6}|0102\d\d)", picture)


def test_versions_are_recorded(run: Path) -> None:
    """Without versions a number cannot be repeated."""
    card = json.loads((run / "run.json").read_text())
    assert {"python", "torch", "onedl-mmengine", "numpy"} <= set(card["versions"])
    assert all(Version(version) for version in card["versions"].values())
