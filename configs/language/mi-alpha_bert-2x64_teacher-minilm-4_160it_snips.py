_base_ = ["_base_/taught-by-minilm-4.py"]
model = dict(
    objectives=dict(
        states=dict(
            loss=dict(type="kdlm.MIAlpha", teacher_width=384, student_width=64, teacher_layers=4, student_layers=2),
            student=dict(type="kdlm.HiddenStates"),
            teacher=dict(type="kdlm.HiddenStates"),
        )
    )
)
