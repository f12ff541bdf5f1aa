# stage 1 of DisBack: five checkpoints
_base_ = ["_base_/unet_fashion-14.py"]
predecessors = dict(teacher="teacher_unet_2000it_fashion-14.py")
model = dict(
    _delete_=True,
    type="kdgen.Degradation",
    student=_base_.model,
    student_init="teacher",
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="@teacher/student/model.py",
        checkpoint="@teacher/student/diffusion_pytorch_model.safetensors",
    ),
)
train_cfg = dict(max_iters=250, val_interval=250)
default_hooks = dict(checkpoint=dict(interval=50, max_keep_ckpts=-1))
custom_hooks = []
optim_wrapper = dict(
    constructor="kdgen.RoleOptimizers",
    fake_score=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-4)),
)
work_dir = "work_dirs/generation/fashion/degradation"
