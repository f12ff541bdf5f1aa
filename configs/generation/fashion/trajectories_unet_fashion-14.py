# what the guided teacher visits: some 20 MB
predecessors = dict(teacher="teacher_unet_2000it_fashion-14.py")
job = dict(
    type="kdgen.collect_trajectories",
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="@teacher/student/model.py",
        checkpoint="@teacher/student/diffusion_pytorch_model.safetensors",
    ),
    shape=(1, 14, 14),
    trajectories=1000,
    held_out=100,
    steps=20,
    guidance=(1.0, 4.0),
)
work_dir = "work_dirs/generation/fashion/trajectories"
