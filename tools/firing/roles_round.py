"""A training of roles that gets into trouble: SwiftBrush on points, an optimizer for each role."""

from __future__ import annotations

from typing import ClassVar

from firing.config import LOOPS
from firing.process import Process
from firing.table import FAULTS, Fault
from firing.training_faults import killed_in_training, killed_while_saving
from firing.training_round import TrainingRound

# everything that a step of several roles leaves behind: two optimizers, one of which accumulates, a scheduler of one role,
# a student that learns in every second step, an average that begins late, and noise that is drawn anew
_CONFIG = """
cosine = dict(type="kdgen.CosineSchedule")
net = dict(type="kdgen.MLP", width=16, depth=2)
exact = dict(type="kdgen.Denoiser", net=dict(type="kdgen.RingScore", noise=cosine), noise=cosine)
model = dict(
    type="kdgen.SwiftBrush",
    student=dict(type="kdgen.Denoiser", net=net, noise=cosine, pred_type="x0"),
    teacher=dict(type="kdhub.ModelTeacher", own_weights=True, model=exact),
    fake_score=dict(type="kdgen.Denoiser", net=net, noise=cosine),
    student_update_freq=2,
)
del cosine, net, exact
def loader(sampler, chunk, chunks, seed=None):
    noise = dict(type="kdgen.NoiseDataset", shape=(2,), chunk=chunk, chunks=chunks, seed=seed)
    return dict(batch_size=1, num_workers=1, sampler=sampler, dataset=noise, collate_fn=dict(type="kdgen.join"))
train_dataloader = loader(dict(type={sampler!r}, shuffle=True), 32, 4)
val_dataloader = loader(dict(type="DefaultSampler", shuffle=False), 200, 2, 1)
val_evaluator = dict(type="kdgen.RingQuality")
val_cfg = dict()
del loader
optim_wrapper = dict(
    constructor="kdgen.RoleOptimizers",
    student=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-2), clip_grad=dict(max_norm=1.0)),
    fake_score=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-2), accumulative_counts=2),
)
param_scheduler = dict(student=dict(type="CosineAnnealingLR", by_epoch=False, T_max=24), fake_score=[])
custom_hooks = [dict(type="EMAHook", momentum=0.1, begin_iter=7)]
randomness = dict(seed=3)
train_cfg = {train}
default_hooks = dict(checkpoint=dict(interval=3, by_epoch=False))
"""


class RolesRound(TrainingRound):
    """A training of roles that gets into trouble."""

    name: ClassVar[str] = "roles"

    def train(self, *options: str, file_limit: int | None = None) -> Process:
        """Prepare a process that trains, in the folder of the round."""
        config = self.folder / "config.py"
        config.write_text(_CONFIG.format(**LOOPS[self.loop]))
        return self.typed("train", str(config), "--work-dir", str(self.work_dir), *options, file_limit=file_limit)


for _fault in (killed_in_training, killed_while_saving):
    FAULTS[f"roles_{_fault.__name__}"] = Fault(_fault, RolesRound, 1)
