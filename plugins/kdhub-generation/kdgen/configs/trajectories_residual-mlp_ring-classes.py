# what the guided teacher visits: 400 trajectories of 40 steps to train on, 100 to measure with
predecessors = dict(teacher="kdgen:ring-classes-teacher")
job = dict(
    type="kdgen.collect_trajectories",
    teacher=dict(
        type="kdhub.ModelTeacher", model="@teacher/student/model.py", checkpoint="@teacher/student/model.safetensors"
    ),
    shape=(2,),
    trajectories=400,
    held_out=100,
    steps=40,
    guidance=(1.0, 6.0),
)
