"""The promise to third parties: a plugin made outside the tree adds a tap, an adapter and a loss, and trains with them."""

import json
import os
import subprocess
import sys
import textwrap

PLUGIN = {
    "kdoutside/__init__.py": "",
    "kdoutside/plugin.py": """
        from kdhub import Component, LossSpec, PluginInfo, hookimpl


        @hookimpl
        def kdhub_plugin_info():
            return PluginInfo(summary="Attention transfer, outside the tree", api_level=1, tasks=("toy",))


        @hookimpl
        def kdhub_teacher_hooks():
            return [Component(kind="tap", name="SquaredOutput", target="kdoutside.parts:SquaredOutput",
                              summary="Square of a module's output")]


        @hookimpl
        def kdhub_adapters():
            return [Component(kind="adapter", name="ChannelMean", target="kdoutside.parts:ChannelMean",
                              summary="Mean over channels plus a learned shift")]


        @hookimpl
        def kdhub_losses():
            return [LossSpec(name="AttentionTransfer", target="kdoutside.parts:AttentionTransfer",
                             summary="Distance of normalised attention maps", tags=("feature",))]
    """,
    "kdoutside/parts.py": """
        import torch
        from torch import nn
        from torch.nn import functional

        from kdhub.distill.taps import ModuleOutput


        class SquaredOutput(ModuleOutput):
            def record(self, value):
                super().record(value.pow(2).mean(1, keepdim=True))


        class ChannelMean(nn.Module):
            def __init__(self):
                super().__init__()
                self.shift = nn.Parameter(torch.zeros(()))

            def forward(self, value, like):
                return value.mean(1, keepdim=True) + self.shift


        class AttentionTransfer(nn.Module):
            def __init__(self, power=2.0):
                super().__init__()
                self.power = power

            def forward(self, student, teacher):
                maps = [functional.normalize(side.abs().flatten(1), dim=1) for side in (student, teacher)]
                return (maps[0] - maps[1]).abs().pow(self.power).mean()
    """,
    "train.py": """
        import json

        import torch
        from mmengine.optim import OptimWrapper

        import kdhub
        from kdhub.distill.distiller import Distiller
        from kdhub.distill.teachers import ModelTeacher
        from kdhub.testing.toys import ToySegmentor, segmentation_batch

        kdhub.init()
        torch.manual_seed(0)
        model = Distiller(
            ToySegmentor(),
            teacher=ModelTeacher(ToySegmentor(width=16)),
            objectives=dict(attention=dict(
                loss=dict(type="kdoutside.AttentionTransfer"),
                student="backbone",
                teacher=dict(type="kdoutside.SquaredOutput", path="backbone"),
                adapter=dict(type="kdoutside.ChannelMean"),
                weight=1000.0)),
            task_weight=0.0)
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.05))
        losses = [float(model.train_step(segmentation_batch(), wrapper)["loss_attention"]) for _ in range(40)]
        shift = float(model.objectives["attention"].adapters["student"][0].shift)
        print(json.dumps(dict(first=losses[0], last=losses[-1], shift=shift)))
    """,
}


def test_a_plugin_outside_the_tree_trains(tmp_path):
    """If a third party had to change the core for a tap, an adapter or a loss, kdhub would be one more fork."""
    for name, text in PLUGIN.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
    info = tmp_path / "kdhub_outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: kdhub-outside\nVersion: 1.0\nRequires-Dist: kdhub\n", encoding="utf-8"
    )
    (info / "entry_points.txt").write_text("[kdhub.plugins]\nkdoutside = kdoutside.plugin\n", encoding="utf-8")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "KDHUB_PLUGINS": "kdoutside", "KDHUB_PLUGIN_ERRORS": "raise"}
    done = subprocess.run(
        [sys.executable, tmp_path / "train.py"], env=environ, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["last"] < 0.5 * result["first"]
    assert result["shift"] != 0.0
