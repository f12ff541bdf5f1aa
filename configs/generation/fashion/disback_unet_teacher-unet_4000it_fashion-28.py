_base_ = ["_base_/unet_fashion-28.py"]
predecessors = dict(teacher="teacher_unet_4000it_fashion-28.py", degradation="degradation_unet_500it_fashion-28.py")
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
    steps_per_node=200,
)
optim_wrapper = dict(
    constructor="kdgen.RoleOptimizers",
    student=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-4), clip_grad=dict(max_norm=1.0)),
    fake_score=dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=2e-4), clip_grad=dict(max_norm=1.0)),
)
