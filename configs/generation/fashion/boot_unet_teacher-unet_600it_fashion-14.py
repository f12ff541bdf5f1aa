_base_ = ["_base_/unet_fashion-14.py"]
predecessors = dict(teacher="teacher_unet_2000it_fashion-14.py")
model = dict(
    _delete_=True,
    type="kdgen.BOOT",
    student=dict(
        type="kdgen.Denoiser",
        net=_base_.model.net,
        noise=_base_.model.noise,
        pred_type="x0",
        classes=10,
        t_list=[0.006],
    ),
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="@teacher/student/model.py",
        checkpoint="@teacher/student/diffusion_pytorch_model.safetensors",
    ),
)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=3e-4), clip_grad=dict(max_norm=1.0))
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False, T_max=600)
