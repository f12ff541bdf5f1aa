# one command: the teacher, its degradation and the way back; a later run repeats none that is finished
_base_ = ["_base_/ring_noise.py"]
predecessors = dict(degradation="kdgen:ring-degradation")
load_from = "@degradation/student/model.safetensors"
model = dict(
    type="kdgen.DisBack",
    student=dict(
        type="kdgen.Denoiser",
        net=dict(type="kdgen.MLP"),
        noise=dict(type="kdgen.CosineSchedule"),
        pred_type="x0",
    ),
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="@degradation/teacher/student/model.py",
        checkpoint="@degradation/teacher/student/model.safetensors",
    ),
    path="@degradation",
    steps_per_node=60,
)
optim_wrapper = dict(
    constructor="kdgen.RoleOptimizers",
    student=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=3e-4), clip_grad=dict(max_norm=10.0)),
    fake_score=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=3e-4), clip_grad=dict(max_norm=10.0)),
)
