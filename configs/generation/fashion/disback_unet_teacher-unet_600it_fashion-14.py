_base_ = ["_base_/unet_fashion-14.py"]
predecessors = dict(teacher="teacher_unet_2000it_fashion-14.py", degradation="degradation_unet_250it_fashion-14.py")
load_from = "@degradation/student/diffusion_pytorch_model.safetensors"
model = dict(
    _delete_=True,
    type="kdgen.DisBack",
    student=_base_.model,
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="@teacher/student/model.py",
        checkpoint="@teacher/student/diffusion_pytorch_model.safetensors",
    ),
    path="@degradation",
    steps_per_node=60,
)
optim_wrapper = dict(
    constructor="kdgen.RoleOptimizers",
    student=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-4), clip_grad=dict(max_norm=1.0)),
    fake_score=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=2e-4), clip_grad=dict(max_norm=1.0)),
)
