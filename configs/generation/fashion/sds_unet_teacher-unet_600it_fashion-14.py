# the rival without a fake score, which collapses
_base_ = ["_base_/unet_fashion-14.py"]
predecessors = dict(teacher="teacher_unet_2000it_fashion-14.py")
model = dict(
    _delete_=True,
    type="kdgen.SDS",
    student=_base_.model,
    student_init="teacher",
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="@teacher/student/model.py",
        checkpoint="@teacher/student/diffusion_pytorch_model.safetensors",
    ),
)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=3e-4), clip_grad=dict(max_norm=1.0))
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False, T_max=600)
