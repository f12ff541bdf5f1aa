"""The training step of step.py in torchdistill 1.1.5, as its own configs would write it.

Imported by peers.py.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torchvision.models import resnet18, resnet34

try:
    from torchdistill.core.distillation import DistillationBox
except ImportError as error:
    sys.exit(f"{error}: pip install '.[bench]'")


def torchdistill_step() -> Callable[[dict[str, torch.Tensor]], float]:
    torch.manual_seed(0)
    student, teacher = resnet18(num_classes=100), resnet34(num_classes=100).eval()
    logits = {"student_module_path": "fc", "student_module_io": "output"}
    logits |= {"teacher_module_path": "fc", "teacher_module_io": "output"}
    output = {"is_from_teacher": False, "io": "output"}
    terms = {
        "ce": {
            "criterion": {"key": "CrossEntropyLoss", "kwargs": {}},
            "criterion_wrapper": {
                "key": "SimpleLossWrapper",
                "kwargs": {"input": {**output, "module_path": "fc"}, "target": {"uses_label": True}},
            },
            "weight": 1.0,
        },
        # without alpha it is the divergence alone, and the factor temperature² is the weight's
        "logits": {
            "criterion": {"key": "KDLoss", "kwargs": {**logits, "temperature": 4.0, "beta": 1.0}},
            "weight": 16.0,
        },
        "feature": {
            "criterion": {"key": "MSELoss", "kwargs": {}},
            "criterion_wrapper": {
                "key": "SimpleLossWrapper",
                "kwargs": {
                    "input": {**output, "module_path": "layer3"},
                    "target": {"is_from_teacher": True, "module_path": "layer3", "io": "output"},
                },
            },
            "weight": 1.0,
        },
    }
    hooks = {"forward_hook": {"output": ["layer3", "fc"]}, "forward_proc": "forward_batch_only"}
    config = {
        "num_epochs": 1,
        "teacher": {**hooks, "requires_grad": False},
        "student": hooks,
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms}},
        "optimizer": {"key": "SGD", "kwargs": {"lr": 1e-3}},
    }
    box = DistillationBox(
        teacher, student, {}, config, torch.device("cpu"), device_ids=None, distributed=False, lr_factor=1
    )
    box.pre_epoch_process()

    def step(data: dict[str, torch.Tensor]) -> float:
        loss = box.forward_process(data["inputs"], data["labels"], {})
        box.post_forward_process(loss)
        return loss.item()

    return step
