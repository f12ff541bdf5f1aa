# stage 1 of DisBack: five checkpoints of a teacher that unlearns the ring
_base_ = ["_base_/ring_noise.py"]
predecessors = dict(teacher="kdgen:ring-teacher")
model = dict(
    type="kdgen.Degradation",
    student=dict(
        type="kdgen.Denoiser",
        net=dict(type="kdgen.MLP"),
        noise=dict(type="kdgen.CosineSchedule"),
        pred_type="x0",
    ),
    teacher=dict(
        type="kdhub.ModelTeacher", model="@teacher/student/model.py", checkpoint="@teacher/student/model.safetensors"
    ),
)
train_cfg = dict(max_iters=300, val_interval=300)
default_hooks = dict(checkpoint=dict(interval=60, max_keep_ckpts=-1))
optim_wrapper = dict(
    constructor="kdgen.RoleOptimizers",
    fake_score=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=2e-4)),
)
