# one command: `kdhub train` trains the teacher first, and never again while its config is the same
_base_ = ["_base_/ring_noise.py"]
predecessors = dict(teacher="kdgen:ring-teacher")
model = dict(
    type="kdgen.BOOT",
    student=dict(
        type="kdgen.Denoiser",
        net=dict(type="kdgen.MLP"),
        noise=dict(type="kdgen.CosineSchedule"),
        pred_type="x0",
        t_list=[0.005],
    ),
    teacher=dict(
        type="kdhub.ModelTeacher", model="@teacher/student/model.py", checkpoint="@teacher/student/model.safetensors"
    ),
)
train_dataloader = dict(dataset=dict(chunk=512))
train_cfg = dict(max_iters=6000)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=1e-3), clip_grad=dict(max_norm=1.0))
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False, T_max=6000)
