"""How a config writes a component: a fragment to paste."""

from __future__ import annotations

from kdhub.config.objectives import Inputs
from kdhub.config.types.signature import Signature
from kdhub.plugins import Entry
from kdhub.records import LossSpec

_IN_CONFIG = {
    "adapter": "model = dict(objectives=dict(NAME=dict(..., adapter={component})))",
    "tap": "model = dict(objectives=dict(NAME=dict(..., student={component})))",
    "teacher": "model = dict(..., teacher={component})",
    "distiller": "model = {component}",
    "model": "model = dict(type='kdhub.Distiller', student={component}, objectives=dict(...))",
    "schedule": "model = dict(objectives=dict(NAME=dict(..., weight={component})))",
    "optim_wrapper": "optim_wrapper = {component}",
    "metric": "val_evaluator = {component}",
    "dataset": "train_dataloader = dict(..., dataset={component})",
    "collate": "train_dataloader = dict(..., collate_fn={component})",
    "runner_hook": "custom_hooks = [{component}]",
    "transform": "train_dataloader = dict(..., dataset=dict(..., pipeline=[{component}]))",
    "sampler": "train_dataloader = dict(..., sampler={component})",
    "constructor": "optim_wrapper = dict(..., constructor='{type}')",
    "job": "job = {component}",
}
_PASSED_BY_BUILDER = {
    "teacher": ("student",),
    "sampler": ("dataset", "seed"),
    "job": ("folder",),
}


def usage(entry: Entry, found: Signature | None) -> str:
    """Return the fragment, with ``...`` where a value must be given.

    Args:
        entry: The component.
        found: Its signature; ``None`` leaves the required parameters out.
    """
    kind = entry.component.kind
    # the first argument of a collate function is the batch
    required = () if found is None or kind == "collate" else found.required
    needed = [name for name in required if name not in _PASSED_BY_BUILDER.get(kind, ())]
    component = f"dict(type='{entry.type}'{''.join(f', {name}=...' for name in needed)})"
    if isinstance(entry.component, LossSpec):
        return _objective(entry.component, component)
    return _IN_CONFIG.get(kind, "{component}").format(component=component, type=entry.type)


def _objective(spec: LossSpec, loss: str) -> str:
    inputs = Inputs.of_record(spec)
    lines = [f"loss={loss}"]
    for side, names, value in (("student", inputs.student, "PATH"), ("teacher", inputs.teacher, "PATH")):
        wanted = [name for name in names if name in inputs.required]
        if len(names) == 1 and wanted:
            lines.append(f"{side}='{value}'")
        elif wanted:
            lines.append(f"{side}=dict({', '.join(f'{name}={value!r}' for name in wanted)})")
    fields = [name for name in inputs.batch if name in inputs.required]
    if fields:
        lines.append(f"batch=dict({', '.join(f'{name}={name!r}' for name in fields)})")
    inside = ",\n".join(f"        {line}" for line in lines)
    return f"model = dict(objectives=dict(\n    NAME=dict(\n{inside})))"
