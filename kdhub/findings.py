"""What a check found: one record a finding, one report for all of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from kdhub.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or suspicious, at one place of a config.

    Attributes:
        level: ``error``, which stops training, or ``warning``.
        path: Exact key path, such as ``model.objectives.boundary.loss.wieght``; empty for the config as a whole.
        message: What is wrong, as a clause.
        expected: What would have been accepted.
        got: What was found instead.
        near: Nearest existing names, best first.
        fix: What to type or change next.
        plugin: Plugin whose own rule found it; empty for kdhub's rules.
    """

    level: str
    path: str
    message: str
    expected: str | None = None
    got: str | None = None
    near: tuple[str, ...] = ()
    fix: str | None = None
    plugin: str = ""

    @classmethod
    def of(cls, error: UsageError, path: str) -> Finding:
        """Make an error of what would have been raised at ``path``."""
        return cls("error", path, error.what, error.expected, error.got, error.near, error.fix)

    def line(self) -> str:
        """Read as one line, in the words of a `UsageError`."""
        facts = {"expected": self.expected, "got": self.got, "near": self.near, "fix": self.fix}
        return f"{self.level}: {UsageError(self.message, where=self.path or None, **facts)}"  # type: ignore[arg-type]

    def as_json(self) -> dict[str, Any]:
        """Return plain values for ``--json``."""
        return asdict(self)


class _Details(TypedDict, total=False):
    """What a finding may say besides; see `Finding`."""

    expected: str | None
    got: str | None
    near: tuple[str, ...]
    fix: str | None
    plugin: str


class Report:
    """Collects findings, so that all are shown at once; `kdhub_check_config` gets one."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Keep a finding, once."""
        if finding not in self._findings:
            self._findings.append(finding)

    def error(self, path: str, message: str, **details: Unpack[_Details]) -> None:
        """Report something that would stop or spoil the run; arguments as in `Finding`."""
        self.add(Finding("error", path, message, **details))

    def warn(self, path: str, message: str, **details: Unpack[_Details]) -> None:
        """Report something that may be meant but rarely is; arguments as in `Finding`."""
        self.add(Finding("warning", path, message, **details))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings: errors first, each level in the order found."""
        return (*self.errors, *self.warnings)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that stop training."""
        return tuple(finding for finding in self._findings if finding.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Findings that do not."""
        return tuple(finding for finding in self._findings if finding.level == "warning")

    @property
    def ok(self) -> bool:
        """Whether training may start."""
        return not self.errors
