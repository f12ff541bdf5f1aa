_base_ = ["_base_/unet_fashion-14.py"]
predecessors = dict(teacher="teacher_unet_2000it_fashion-14.py", trajectories="trajectories_unet_fashion-14.py")
model = dict(
    _delete_=True,
    type="kdgen.AGD",
    student=dict(
        type="kdgen.GuidedDenoiser",
        net=_base_.model.net,
        noise=_base_.model.noise,
        pred_type="v",
        classes=10,
        steps=20,
        guidance_scale=2.0,
        adapters=dict(
            at="*.attentions.?",
            design="attention",
            width=64,
            scale=0.5,
            time="time_embedding",
            condition="class_embedding",
        ),
    ),
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="@teacher/student/model.py",
        checkpoint="@teacher/student/diffusion_pytorch_model.safetensors",
    ),
)
train_dataloader = dict(dataset=dict(_delete_=True, type="kdgen.Trajectories", folder="@trajectories", chunk=32))
val_dataloader = dict(dataset=dict(_delete_=True, type="kdgen.TrajectoryEnds", folder="@trajectories", chunk=100))
val_evaluator = dict(_delete_=True, type="kdgen.EndpointError")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.0))
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False, T_max=600)
