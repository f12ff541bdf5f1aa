"""Explain one component: how it is built, what it compares, where it comes from and how a config writes it.

Examples:
  kdhub info kdhub.TemperatureKL
  kdhub info kdhub.Linear --json
"""

from __future__ import annotations

import argparse
import textwrap
from dataclasses import asdict
from typing import Any

from kdhub.cli.output import print_json
from kdhub.cli.parser import add_json
from kdhub.cli.usage import usage
from kdhub.config.types.signature import Signature, signature
from kdhub.plugins import Entry, Switches, load_plugins
from kdhub.records import LossSpec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", metavar="SCOPE.NAME", help="a component, as a config writes it")
    add_json(parser)


def run(args: argparse.Namespace, switches: Switches) -> int:
    """Explain."""
    entry = load_plugins(switches).find(args.name)
    found = signature(entry.component.target)
    if args.json:
        print_json(_as_json(entry, found))
    else:
        print(_as_text(entry, found))
    return 0


def _as_json(entry: Entry, found: Signature | None) -> dict[str, Any]:
    told = None
    if found is not None:
        told = {
            "text": str(found),
            "parameters": [asdict(parameter) for parameter in found.parameters],
            "takes_any_keyword": found.open,
            "file": str(found.file),
            "line": found.line,
            "doc": found.doc,
        }
    record = {key: value for key, value in asdict(entry.component).items() if key != "name"}
    return {
        "name": entry.type,
        **record,
        "source": asdict(entry.source),
        "signature": told,
        "usage": usage(entry, found),
    }


def _as_text(entry: Entry, found: Signature | None) -> str:
    component = entry.component
    facts = {
        "kind": component.kind,
        "from": f"{entry.source.dist} {entry.source.version}".strip(),
        "paper": component.paper,
        **(_loss_facts(component) if isinstance(component, LossSpec) else {}),
        "source": f"{found.file}:{found.line}" if found is not None else component.target,
    }
    width = max(len(name) for name, value in facts.items() if value)
    lines = [f"{entry.type}: {component.summary}", ""]
    lines += [f"  {name:<{width}}  {value}" for name, value in facts.items() if value]
    lines += ["", "In a config:", "", textwrap.indent(usage(entry, found), "    ")]
    if found is not None:
        parameters = [f"{parameter}," for parameter in found.parameters] + (["**kwargs,"] if found.open else [])
        lines += ["", "Parameters:", "", *(f"    {line}" for line in parameters or ["none"])]
        if found.doc:
            lines += ["", textwrap.indent(found.doc, "    ")]
    return "\n".join(lines)


def _loss_facts(spec: LossSpec) -> dict[str, str]:
    optional = f" (and, if given, {', '.join(spec.optional)})" if spec.optional else ""
    match = {
        "shape": "both sides have one shape",
        "batch": "both sides have one batch size",
        "nothing": "the sides may differ",
    }
    return {
        "inputs": ", ".join(spec.inputs) + optional,
        "compares": ", ".join(spec.tags),
        "shapes": match[spec.match],
        "at equality": "0" if spec.zero_at_equality else "not 0",
        "reduction": spec.reduction,
        "augmented": "the teacher may have seen the sample un-augmented"
        if spec.unaugmented
        else "as the teacher saw it",
    }
