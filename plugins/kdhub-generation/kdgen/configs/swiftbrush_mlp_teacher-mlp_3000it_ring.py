# one command: `kdhub train` trains the teacher first, and never again while its config is the same
_base_ = ["_base_/ring_noise.py"]
predecessors = dict(teacher="kdgen:ring-teacher")
model = dict(
    type="kdgen.SwiftBrush",
    student=dict(
        type="kdgen.Denoiser",
        net=dict(type="kdgen.MLP"),
        noise=dict(type="kdgen.CosineSchedule"),
        pred_type="x0",
    ),
    teacher=dict(
        type="kdhub.ModelTeacher", model="@teacher/student/model.py", checkpoint="@teacher/student/model.safetensors"
    ),
    fake_score="teacher",
    fake_weighting="none",
)
optim_wrapper = dict(
    constructor="kdgen.RoleOptimizers",
    student=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3), clip_grad=dict(max_norm=1.0)),
    fake_score=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3), clip_grad=dict(max_norm=1.0)),
)
param_scheduler = dict(student=dict(type="CosineAnnealingLR", by_epoch=False, T_max=3000), fake_score=[])
