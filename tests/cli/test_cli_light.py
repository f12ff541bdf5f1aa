"""Commands that only look are over before torch would be imported."""

import json
import subprocess
import sys

import pytest

HEAVY = {
    "torch",
    "torchvision",
    "mmcv",
    "cv2",
    "faiss",
    "transformers",
    "sentence_transformers",
    "matplotlib",
    "pandas",
}
CONFIG = """
model = dict(
    type='kdhub.Distiller',
    student=dict(type='kdhub.testing.toys.ToySegmentor'),
    teacher=dict(type='kdhub.ModelTeacher', model='teacher.py'),
    objectives=dict(logits=dict(loss=dict(type='kdhub.TemperatureKL'), student='head', teacher='head')))
custom_imports = dict(imports=['torch'])
train_dataloader = dict(batch_size=2, sampler=dict(type='DefaultSampler'), dataset=dict(type='Anything'))
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.1))
"""


def modules_of(*arguments):
    """Exit code of a command in a fresh Python, and the modules that it imported."""
    code = (
        "import json, sys\n"
        "from kdhub.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        "print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    code, modules = json.loads(done.stderr.splitlines()[-1])
    return code, set(modules)


@pytest.mark.parametrize(
    "arguments",
    [
        ["plugins", "list"],
        ["plugins", "info", "kdhub", "--json"],
        ["list"],
        ["list", "losses"],
        ["list", "recipes", "--json"],
        ["info", "kdhub.TemperatureKL"],
        ["info", "kdhub.Distiller", "--json"],
        ["check", "--help"],
        ["train", "--help"],
        ["probe", "--help"],
    ],
    ids=" ".join,
)
def test_listing_imports_nothing_heavy(arguments):
    """A user of a similar tool measured 10.7 s for --help once one plugin imported torch."""
    if "--help" in arguments:  # argparse leaves by SystemExit
        code = "import sys; from kdhub.cli.main import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        done = subprocess.run(
            [sys.executable, "-c", code + "print(sorted(sys.modules))", *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
        modules = set(eval(done.stdout.splitlines()[-1]))
    else:
        code, modules = modules_of(*arguments)
        assert code == 0
    assert not (HEAVY | {"mmengine"}) & modules


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"]], ids=str)
def test_help_imports_argparse_at_most(arguments):
    """Help is what people type first, and shells complete by running it."""
    code, modules = modules_of(*arguments)
    assert code == 0
    assert not (HEAVY | {"mmengine", "rich", "kdhub.plugins", "kdhub.config"}) & modules


def test_check_says_that_it_runs_the_config(tmp_path):
    """Somebody who is told that nothing is imported would check a stranger's config without reading it."""
    from kdhub.cli import check
    from kdhub.cli.main import main

    path = tmp_path / "config.py"
    path.write_text(f"open({str(tmp_path / 'trace')!r}, 'w').close()\n{CONFIG}", encoding="utf-8")
    main(["check", str(path)])
    assert (tmp_path / "trace").exists()
    assert "runs the file" in check.__doc__


def test_check_imports_nothing_that_the_config_names(tmp_path):
    """The check comes first in everything, so that it must not cost what it is to save."""
    path = tmp_path / "config.py"
    path.write_text(CONFIG, encoding="utf-8")
    code, modules = modules_of("check", path)
    assert code == 0
    assert not HEAVY & modules
