# what the guided teacher visits: some 170 MB
predecessors = dict(teacher="teacher_unet_4000it_fashion-28.py")
job = dict(
    type="kdgen.collect_trajectories",
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="@teacher/student/model.py",
        checkpoint="@teacher/student/diffusion_pytorch_model.safetensors",
    ),
    shape=(1, 28, 28),
    trajectories=2400,
    held_out=200,
    steps=20,
    guidance=(1.0, 4.0),
)
