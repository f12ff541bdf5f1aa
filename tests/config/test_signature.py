"""Signatures read from source are those that Python would bind, and reading them imports nothing."""

import inspect
import subprocess
import sys
import textwrap

import pytest

from kdhub.config.types.signature import bound, signature
from kdhub.config.types.source import locate
from kdhub.plugins.modules import module_file

LIBRARY = {
    "kdsig/__init__.py": "from .parts import Plain as Exported\nfrom .more import *\n",
    "kdsig/more.py": "from kdsig import parts\nAlias = parts.Plain\n\n\nclass Starred(Alias):\n    pass\n",
    "kdsig/parts.py": '''
        from __future__ import annotations

        from abc import ABC
        from dataclasses import dataclass, field
        from typing import ClassVar, Generic, NamedTuple, TypeVar, overload

        import kdsig.elsewhere as there
        from kdsig.elsewhere import Base, Mixin
        from torch import nn

        T = TypeVar("T")

        try:
            from a_library_that_nobody_has import Fast as Chosen
        except ImportError:
            class Chosen:
                def __init__(self, slow=True):
                    pass


        class Plain:
            """What it does.

            More of it.
            """

            def __init__(self, tau: float, name: str = "a", *, axis: int | None = None, flags=(1, 2)):
                self.tau = tau

            class Inner:
                def __init__(self, depth=3):
                    pass

            @classmethod
            def load(cls: type["Plain"], path: str, **more):
                return cls(**more)


        class Inherits(there.Base):
            pass


        class HandsOn(Base):
            def __init__(self, extra=1, **kwargs):
                super().__init__("first", width=2, **kwargs)


        class HandsOnByName(Base):
            def __init__(self, extra=1, **rest):
                Base.__init__(self, **rest)


        class Pops(Base):
            def __init__(self, **kwargs):
                self.other = kwargs.pop("other", 1)
                super().__init__(**kwargs)


        class Skips(HandsOn):
            def __init__(self, **kwargs):
                super(HandsOn, self).__init__(**kwargs)


        class Own(Base):
            def __init__(self, **kwargs):
                super(Own, self).__init__(**kwargs)


        class Swallows(Base):
            def __init__(self, extra=1, **kwargs):
                self.kwargs = kwargs


        class Cooperative(Mixin, Base):
            pass


        class Module(nn.Module):
            def forward(self, student, teacher):
                return student


        class Typed(Generic[T], ABC):
            pass


        class Mystery(type("Thing", (), {})):
            pass


        class Overloaded:
            @overload
            def __init__(self, a: int): ...
            @overload
            def __init__(self, a: str, b: int): ...
            def __init__(self, a, b=2):
                pass


        class Positional:
            def __init__(self, hidden, /, shown=1):
                pass


        @dataclass
        class Older:
            first: int
            kind: ClassVar[str] = "x"


        @dataclass(eq=True)
        class Record(Older):
            size: int = 2
            names: list[str] = field(default_factory=list)
            cache: dict = field(default_factory=dict, init=False)


        class Point(NamedTuple):
            x: float
            y: float = 0.0


        def collate(samples, pad: int = 0):
            """Collate."""
    ''',
    "kdsig/elsewhere.py": """
        class Base:
            def __init__(self, role, width: int = 8, height=9):
                pass


        class Mixin:
            def __init__(self, lr, *args, **kwargs):
                super().__init__("mixed", *args, **kwargs)
    """,
    "kdsig/namesake.py": """
        from kdsig.elsewhere import Base as Other

        class Base(Other):
            def __init__(self, **kwargs):
                super(Base, self).__init__(**kwargs)
    """,
    "kdsig/circle.py": "One = Two\nTwo = One\n",
    "kdsig/broken.py": "def f(:\n",
}


@pytest.fixture
def library(install_fake):
    """A package full of ways to define a constructor."""
    install_fake("kdsig", files=LIBRARY, entry_points={})


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("parts:Plain", "Plain(tau: float, name: str = 'a', *, axis: int | None = None, flags=(1, 2))"),
        ("parts:Plain.Inner", "Inner(depth=3)"),
        ("parts:Plain.load", "load(path: str, **kwargs)"),
        ("parts:Inherits", "Inherits(role, width: int = 8, height=9)"),
        ("parts:HandsOn", "HandsOn(extra=1, *, height=9)"),
        ("parts:HandsOnByName", "HandsOnByName(extra=1, *, role, width: int = 8, height=9)"),
        ("parts:Pops", "Pops(*, role, width: int = 8, height=9, **kwargs)"),
        ("parts:Skips", "Skips(*, role, width: int = 8, height=9)"),
        ("parts:Own", "Own(*, role, width: int = 8, height=9)"),
        ("namesake:Base", "Base(*, role, width: int = 8, height=9)"),
        ("parts:Swallows", "Swallows(extra=1, **kwargs)"),
        ("parts:Cooperative", "Cooperative(lr, *, width: int = 8, height=9)"),
        ("parts:Module", "Module()"),
        ("parts:Typed", "Typed()"),
        ("parts:Mystery", "Mystery(**kwargs)"),
        ("parts:Overloaded", "Overloaded(a, b=2)"),
        ("parts:Positional", "Positional(shown=1)"),
        ("parts:Record", "Record(first: int, size: int = 2, names: list[str] = list())"),
        ("parts:Point", "Point(x: float, y: float = 0.0)"),
        ("parts:Chosen", "Chosen(slow=True)"),
        ("parts:collate", "collate(samples, pad: int = 0)"),
        ("more:Alias", "Plain(tau: float, name: str = 'a', *, axis: int | None = None, flags=(1, 2))"),
    ],
)
def test_a_signature_is_read_from_source(library, target, text):
    """`info` and `check` must say what a component takes without waiting for torch."""
    assert str(signature(f"kdsig.{target}")) == text


@pytest.mark.parametrize("target", ["kdsig:Exported", "kdsig:Starred", "kdsig:Alias", "kdsig.more:Starred"])
def test_re_exports_are_followed(library, target):
    """Targets and base classes are usually named where a package exports them, not where they are."""
    assert signature(target).names == ("tau", "name", "axis", "flags")


@pytest.mark.parametrize(
    "target",
    [
        "kdsig.parts:Absent",
        "kdsig.broken:f",
        "kdsig.circle:One",
        "kdsig.absent:X",
        "nowhere:X",
        "sys:exit",
        "math:pi",
    ],
)
def test_what_the_source_does_not_tell_is_none(library, target):
    """Compiled modules, syntax errors and circles must not stop a listing."""
    assert signature(target) is None


def test_docstring_line_and_file_are_told(library):
    """`info` shows where the code is; a wrong line sends the reader elsewhere."""
    found = signature("kdsig.parts:Plain")
    assert found.doc == "What it does.\n\nMore of it."
    assert found.file.name == "parts.py"
    assert found.file.read_text().splitlines()[found.line - 1] == "class Plain:"


def test_required_parameters_are_those_without_a_default(library):
    """A default of None is a default."""
    assert signature("kdsig.parts:Plain").required == ("tau",)


def test_a_changed_file_is_read_again(library):
    """In a long process, such as a notebook, the first version would be checked for ever."""
    import os

    file = signature("kdsig.parts:Plain").file
    file.write_text("class Plain:\n    def __init__(self, new): ...\n")
    os.utime(file, ns=(1, 1))
    assert signature("kdsig.parts:Plain").names == ("new",)


def test_reading_imports_nothing(tmp_path):
    """`importlib.util.find_spec` would import the parent packages, and with them torch."""
    folder = tmp_path / "kdimports"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise SystemExit('imported')")
    (folder / "parts.py").write_text("class Part:\n    def __init__(self, a=1): ...\n")
    code = """
        import sys
        from kdhub.config.types.signature import signature
        assert signature("kdimports.parts:Part").names == ("a",)
        assert not {"kdimports", "torch", "mmengine"} & set(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_package_without_init_has_modules_too(install_fake):
    """Namespace packages have no file of their own, and their modules do."""
    install_fake("kdspace", files={"kdspace/inner/parts.py": "class Part: ...\n"}, entry_points={})
    assert module_file("kdspace.inner.parts").name == "parts.py"
    assert module_file("kdspace") is None
    assert locate("kdspace.inner.parts.Part").module == "kdspace.inner.parts"


@pytest.mark.parametrize(
    "target",
    [
        "mmengine.evaluator:BaseMetric",
        "mmengine.optim:OptimWrapper",
        "mmengine.optim:LinearLR",
        "mmengine.hooks:EMAHook",
        "mmengine.runner:EpochBasedTrainLoop",
        "mmengine.dataset:DefaultSampler",
        "torch.optim:AdamW",
        "torch.utils.data:DataLoader",
        "kdhub.distill.distiller:Distiller",
        "kdhub.distill.guards:Guards",
        "kdhub.distill.losses.temperature_kl:TemperatureKL",
    ],
)
def test_source_and_python_agree(target):
    """What Python binds is the truth; everything that it can bind must be read from source as well."""
    module, _, name = target.partition(":")
    cls = getattr(__import__(module, fromlist=[name]), name)
    real = {
        name: parameter
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    told = signature(target)
    assert set(real) <= set(told.names)
    for name, parameter in real.items():
        assert (parameter.default is parameter.empty) == (name in told.required), name


def test_what_python_binds_is_completed_from_source(library):
    """`inspect` shows `**kwargs` and not what becomes of it; the source shows both."""
    from kdsig.elsewhere import Base

    assert bound(Base).names == ("role", "width", "height")
    assert str(bound(Base)) == "Base(role, width: int = 8, height=9)"

    class HandsOn(Base):
        def __init__(self, extra, **kwargs):
            super().__init__(**kwargs)

    assert bound(HandsOn).open  # a class inside a function is in no source that can be found
    from mmengine.optim import AmpOptimWrapper

    assert "accumulative_counts" in bound(AmpOptimWrapper).names


def test_a_callable_without_a_signature_is_unknown():
    """Some built-in callables have none, and must not stop the check."""
    assert bound(dict.fromkeys) is None or bound(type) is None
