"""`kdhub report A B`: several runs side by side, in a page that people decide by."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny
from test_report import Page

from kdhub.cli.main import main
from kdhub.engine.report.comparison import compared, write_comparison
from kdhub.engine.report.cost import cost_of
from kdhub.engine.report.grouping import read_groups
from kdhub.engine.report.intervals import difference, interval, student_t
from kdhub.engine.report.runs import literal_config, settings
from kdhub.engine.train import train
from kdhub.errors import UsageError
from kdhub.sealed import write_sealed

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train once."""
    return train(tiny.config(tmp_path_factory.mktemp("compared") / "run", model=tiny.distiller())).work_dir


@pytest.fixture
def make(trained: Path, tmp_path: Path) -> Make:
    """Copy the run under another name, with another seed, metric, key of its config or fact of its card."""

    def run(name: str, seed: int = 0, accuracy: float | None = None, config: Any = (), **card: Any) -> Path:
        folder = Path(shutil.copytree(trained, tmp_path / name))
        content = copy.deepcopy(json.loads((folder / "run.json").read_text()))
        content.pop("sha256")
        if accuracy is not None:
            content["evaluations"][-1]["metrics"] = {"tiny/accuracy": accuracy}
        drawn = card.pop("seed_drawn", seed)
        write_sealed(folder / "run.json", {**content, "name": name, "seed": drawn, **card})
        text = (
            (folder / "config.py").read_text().replace("randomness = dict(seed=0)", f"randomness = dict(seed={seed})")
        )
        for old, new in config:
            assert old in text
            text = text.replace(old, new)
        (folder / "config.py").write_text(text.replace(str(trained), str(folder)))
        return folder

    return run


def test_seeds_of_one_config_are_one_column_with_an_interval(make: Make) -> None:
    """A mean without its spread makes noise look like a gain; the numbers are worked out by hand."""
    loss = [("temperature=2.0", "temperature=4.0")]
    folders = [make(f"kd-{seed}", seed, accuracy) for seed, accuracy in enumerate((0.5, 0.6, 0.7))]
    folders += [make(f"hot-{seed}", seed, accuracy, loss) for seed, accuracy in enumerate((0.52, 0.64, 0.76))]
    told = compared(read_groups(folders))
    assert [group["label"] for group in told["groups"]] == ["kd", "hot"]
    kd, hot = told["groups"]
    # standard deviation 0.1, t of two degrees of freedom 4.3027, three seeds
    assert kd["metrics"]["tiny/accuracy"] == pytest.approx({"mean": 0.6, "half_width": 0.248413, "n": 3}, rel=1e-4)
    # seed by seed 0.02, 0.04, 0.06: a narrow interval, though those of the columns overlap
    assert hot["over_first"]["tiny/accuracy"] == pytest.approx(
        {"mean": 0.04, "half_width": 0.0496827, "n": 3}, rel=1e-4
    )
    assert told["config"] == {"model.objectives.logits.loss.temperature": {"kd": "2.0", "hot": "4.0"}}


def test_columns_have_the_names_that_runs_share(make: Make) -> None:
    """A column called `kd` that holds the students alone turns the result round."""
    alone = [("max_iters=6", "max_iters=7")]
    folders = [make(f"kd-{seed}", seed) for seed in (1, 2)] + [
        make(f"kd-{seed}/alone", seed, config=alone) for seed in (1, 2)
    ]
    assert [group.label for group in read_groups(folders)] == ["kd", "kd-*/alone"]
    lone = [("temperature=2.0", "temperature=4.0")]
    many = [make(f"at-{seed}", seed, config=lone) for seed in (10, 11)]
    assert [group.label for group in read_groups(many)] == ["at"]


def test_how_an_interval_reads() -> None:
    """Digits beyond the spread pretend a precision that nobody measured."""
    assert str(interval([0.5, 0.6, 0.7])) == "0.60 ± 0.25"
    assert str(interval([61.0, 61.5])) == "61.2 ± 3.2"
    assert str(interval([0.61234])) == "0.6123"
    assert str(interval([0.5, 0.5])) == "0.5 ± 0"
    assert difference({0: 1.0}, {1: 2.0}) is None


@pytest.mark.parametrize("freedom", [1, 4, 10, 11, 15, 30, 200])
def test_the_quantiles_of_student(freedom: int) -> None:
    """A wrong factor makes every interval of every page wrong."""
    stats = pytest.importorskip("scipy.stats")
    assert student_t(freedom) == pytest.approx(float(stats.t.ppf(0.975, freedom)), rel=1e-4)


def test_a_run_that_is_not_finished_stands_alone(make: Make) -> None:
    """Its numbers are of an earlier iteration, so that a mean with them is of nothing."""
    groups = read_groups([make("kd-0", 0, 0.5), make("kd-1", 1, 0.1, status="interrupted"), make("kd-2", 2, 0.7)])
    assert [[run.label for run in group.runs] for group in groups] == [["kd-0", "kd-2"], ["kd-1"]]
    assert any(note.startswith("kd-1 is interrupted") for note in compared(groups)["notes"])


def test_a_seed_without_a_number_is_told(make: Make) -> None:
    """The mean of the seeds that survived stood under the name of all."""
    folders = [make(f"kd-{seed}", seed, accuracy) for seed, accuracy in enumerate((0.5, "nan", 0.7))]
    told = compared(read_groups(folders))
    assert told["groups"][0]["metrics"]["tiny/accuracy"]["n"] == 2
    assert any(note.startswith("kd-1 ended with tiny/accuracy nan: its mean") for note in told["notes"])


def test_a_seed_counts_once(make: Make) -> None:
    """The same run twice would halve the interval, and nothing more was measured."""
    groups = read_groups([make("a", 0, 0.5), make("b", 0, 0.5), make("c", 1, 0.7)])
    assert groups[0].metrics["tiny/accuracy"].n == 2
    assert "several runs of one seed" in " ".join(compared(groups)["notes"])


def test_a_seed_that_was_drawn_counts(make: Make) -> None:
    """Runs without a seed of their own were taken for repetitions of one draw, so that they had no interval."""
    drawn = [("randomness = dict(seed=0)", "randomness = dict(seed=None)")]
    groups = read_groups([make("a", 0, 0.5, drawn, seed_drawn=11), make("b", 0, 0.7, drawn, seed_drawn=12)])
    assert groups[0].metrics["tiny/accuracy"].n == 2


def test_keys_that_one_config_lacks_and_folders(make: Make, trained: Path) -> None:
    """A path into the run's own folder differs in every run; a missing key differs from each value."""
    own = [
        ("type='TinyClassifier', width=8)", "type='TinyClassifier')"),
        ("randomness =", f"load_from = '{trained}/x.pth'\nrandomness ="),
    ]
    other = [own[1]]
    told = compared(read_groups([make("a", 0, None, own), make("b", 0, None, other)]))
    assert told["config"] == {"model.teacher.model.width": {"a": None, "b": "8"}}


def test_another_predecessor_is_another_config(make: Make) -> None:
    """Students of two teachers were averaged as seeds of one experiment, if only their own configs were read."""
    after = [("randomness =", "after = dict(teacher='FINGERPRINT')\nrandomness =")]
    folders = [
        make(f"run-{number}", number, 0.5, [(one, two.replace("FINGERPRINT", str(number))) for one, two in after])
        for number in range(3)
    ]
    for number, folder in enumerate(folders):
        (folder / "teacher").mkdir()
        lr = 0.1 if number < 2 else 0.2
        (folder / "teacher/config.py").write_text(f"randomness = dict(seed={number})\noptim_wrapper = dict(lr={lr})\n")
    groups = read_groups(folders)
    assert [len(group.runs) for group in groups] == [2, 1]
    assert compared(groups)["config"] == {"predecessors.teacher.optim_wrapper.lr": {"run": "0.1", "run-2": "0.2"}}


def test_no_config_is_run(make: Make, tmp_path: Path) -> None:
    """A report of a stranger's run must be safe to make: a config is a program."""
    folder = make(
        "strange", config=[("randomness =", f"import os\ntrap = open({str(tmp_path / 'trap')!r}, 'w')\nrandomness =")]
    )
    assert settings(folder) is None
    told = compared(read_groups([folder, make("plain")]))
    assert "no config.py that can be read" in " ".join(told["notes"])
    assert told["config"] == {}
    assert not (tmp_path / "trap").exists()


def test_a_written_config_is_read_back() -> None:
    """A value that is read as another one would be shown as a difference that is none."""
    text = "a = dict(b=[1, (2.5, -3)], c=dict(), d={'x y': None}, e=float, f='t')\n"
    assert literal_config(text) == {"a": {"b": [1, [2.5, -3]], "c": {}, "d": {"x y": None}, "e": "float", "f": "t"}}


def test_the_page_is_whole_and_can_be_heard(make: Make, tmp_path: Path) -> None:
    """A page that loads a file is blank on a plane; a table without headings and a picture without words are silent."""
    table = {"title": "<Queries>", "columns": ["query"], "rows": [["<script>alert(1)</script>"]], "caption": ""}
    panels = {"kdret": {"index": "exact <b>", "next": {}}}
    folders = [
        make("kd-0", 0, 0.5),
        make("kd-1", 1, 0.6),
        make("x<y", 0, 0.4, [("lr=0.1", "lr=0.2")], tables=[table], plugins=panels),
    ]
    write_comparison(read_groups(folders), tmp_path / "pages/c.html")
    text = (tmp_path / "pages/c.html").read_text()
    page = Page(text)
    assert [name for name, count in page.ids.items() if count > 1] == []
    outside = [
        one for one in page.attributes if one[1] in ("src", "href", "xlink:href") and one[2][:1] not in ("#", "d")
    ]
    assert outside == []
    assert not re.search(r"@import|url\((?!#)|<script|\bNone\b|\bnan\b|<b>", text)
    assert text.count("<table") == text.count("<caption")
    assert not re.search(r"<th(?! scope=)[ >]", text)
    pictures = re.findall(r"<svg[^>]*>", text)
    assert pictures
    assert all('role="img"' in one and " ends at " in one for one in pictures)
    levels = [int(level) for level in re.findall(r"<h(\d)", text)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert "&lt;script&gt;alert(1)" in text
    assert "exact &lt;b&gt;" in text


def test_curves_share_a_picture(make: Make, tmp_path: Path) -> None:
    """Curves in pictures of their own have axes of their own, and the eye compares nothing."""
    write_comparison(read_groups([make("a"), make("b", config=[("lr=0.1", "lr=0.2")])]), tmp_path / "c.html")
    text = (tmp_path / "c.html").read_text()
    picture = text.split("<figcaption>tiny/accuracy</figcaption>")[1].split("</figure>")[0]
    assert {"var(--series1)", "var(--series2)"} <= set(re.findall(r"var\(--\w+\)", picture))
    assert "stroke-dasharray" in picture  # colour is not the only sign
    assert not re.search(r"#0102\w\w", text)
    assert text.count("<figcaption>loss</figcaption>") == 1


def test_what_a_run_cost(trained: Path) -> None:
    """A gain without its price decides nothing. A resumed run's pause is no cost."""
    card = json.loads((trained / "run.json").read_text())
    cost = cost_of(card)
    assert cost["memory"] > 10_000_000
    assert (cost["parameters"], cost["teacher_parameters"]) == (22, 42)
    times = [("10:00:00", "10:00:30"), ("12:00:00", "12:01:00")]
    sessions = [{"started": f"2026-01-01T{one}+00:00", "ended": f"2026-01-01T{two}+00:00"} for one, two in times]
    assert cost_of({"sessions": sessions})["seconds"] == 90
    assert "seconds" not in cost_of({"sessions": [{"started": sessions[0]["started"]}, sessions[1]]})


def test_folders_that_are_no_run(make: Make, tmp_path: Path) -> None:
    """Who names the folder above, or one with a slip, needs the right one named."""
    run = make("first")
    with pytest.raises(UsageError, match=rf"no folder .*firts.*run\.json.*did you mean '{run}'"):
        read_groups([run, tmp_path / "firts"])
    with pytest.raises(UsageError, match=rf"no run to report.*name the runs below it: {run}"):
        read_groups([tmp_path])
    with pytest.raises(UsageError, match="named twice"):
        read_groups([run, tmp_path / "." / "first"])
    write_sealed(make("job") / "run.json", {"job": "kdret.Mine", "status": "finished"})
    with pytest.raises(UsageError, match=r"holds a job.*kdret\.Mine"):
        read_groups([run, tmp_path / "job"])


def test_the_command(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Scripts read the JSON, people the page that is named; an option that has no effect is refused."""
    monkeypatch.chdir(tmp_path)
    folders = [str(make("a")), str(make("b", 1))]
    assert main(["report", *folders]) == 0
    assert capsys.readouterr().out == "comparison.html\n"
    assert Path("comparison.html").is_file()
    assert main(["report", *folders, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["groups"][0]["runs"] == folders
    assert main(["report", folders[0], "--out", "x.html"]) == 2
    assert "leave --out out" in capsys.readouterr().err


_MEASURE = """<script>
const luminance = text => { const v = text.match(/[\\d.]+/g).slice(0, 3).map(c => { c /= 255;
  return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; }); return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (c !== "rgba(0, 0, 0, 0)") return c; } return "rgb(255, 255, 255)"; };
const low = [...document.querySelectorAll("h1, h2, h3, th, td, p, li, dt, dd, figcaption, code")]
  .map(e => contrast(getComputedStyle(e).color, behind(e)));
const root = document.documentElement;
const drawn = [...document.querySelectorAll("svg")].every(e => e.getBoundingClientRect().width > 100);
root.setAttribute("measured", [root.scrollWidth <= innerWidth, Math.min(...low).toFixed(2), drawn,
  matchMedia("(prefers-color-scheme: dark)").matches].join(" "));
</script>"""


@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_it(make: Make, tmp_path: Path, dark: bool) -> None:
    """Text on a background of its colour, and a page wider than its window, are seen in a browser only."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    groups = read_groups([make("a", 0, 0.5), make("b" * 60, 0, 0.6, [("lr=0.1", "lr=0.2")])])
    write_comparison(groups, tmp_path / "c.html")
    (tmp_path / "c.html").write_text((tmp_path / "c.html").read_text() + _MEASURE)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--window-size=700,900", "--dump-dom"]
    done = subprocess.run([*command, str(tmp_path / "c.html")], capture_output=True, text=True, check=True, timeout=100)
    if folder := os.environ.get("TEST_ARTEFACTS"):  # for people to look at after CI
        Path(folder).mkdir(parents=True, exist_ok=True)
        shot = Path(folder, f"comparison-{'dark' if dark else 'light'}.png").absolute()
        shown = [*command[:-1], f"--screenshot={shot}", str(tmp_path / "c.html")]
        subprocess.run(shown, capture_output=True, check=True, timeout=100)
        assert shot.stat().st_size > 1000
    (measured,) = re.findall(r'measured="([^"]+)"', done.stdout)
    fits, contrast, drawn, is_dark = measured.split()
    assert (fits, drawn, is_dark) == ("true", "true", str(dark).lower())
    assert float(contrast) >= 4.5  # what the guidelines for accessible pages ask of text
