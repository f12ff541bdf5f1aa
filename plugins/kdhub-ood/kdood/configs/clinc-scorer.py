# stage 3: the student as a scorer, with a threshold below which 95 % of the validation texts in distribution stay
predecessors = dict(student="kdood:clinc-student")
job = dict(
    type="kdood.fit_scorer",
    model="@student/student",
    validation=dict(type="kdood.CLINC150", split="val", tokenizer="@student/student"),
    max_length=64,
)
