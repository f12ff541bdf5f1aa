# one command: the teacher, its guided trajectories, and the adapters that replace the second call
predecessors = dict(trajectories="kdgen:ring-trajectories")
model = dict(
    type="kdgen.AGD",
    student=dict(
        type="kdgen.GuidedDenoiser",
        net=dict(type="kdgen.MLP", width=128, depth=4, classes=4, residual=True),
        noise=dict(type="kdgen.CosineSchedule"),
        pred_type="v",
        classes=4,
        steps=40,
        adapters=dict(at="hidden.*", design="attention", width=64, scale=0.1, time="time", condition="labels"),
    ),
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="@trajectories/teacher/student/model.py",
        checkpoint="@trajectories/teacher/student/model.safetensors",
    ),
)
train_dataloader = dict(
    batch_size=1,
    sampler=dict(type="InfiniteSampler", shuffle=False),
    dataset=dict(type="kdgen.Trajectories", folder="@trajectories", chunk=64),
    collate_fn=dict(type="kdgen.join"),
)
val_dataloader = dict(
    batch_size=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="kdgen.TrajectoryEnds", folder="@trajectories", chunk=100),
    collate_fn=dict(type="kdgen.join"),
)
val_evaluator = dict(type="kdgen.EndpointError")
val_cfg = dict()
train_cfg = dict(by_epoch=False, max_iters=3000, val_interval=1000)
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.0))
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False, T_max=3000)
randomness = dict(seed=0)
