_base_ = ["_base_/taught-by-store.py"]
model = dict(
    student=dict(type="kdlm.SubclassModel", subclasses=4, net=dict(config=dict(num_labels=8))),
    objectives=dict(
        subclasses=dict(
            loss=dict(type="kdlm.LELP", projections="work_dirs/ag-news-2/projections/projections.safetensors"),
            student="classifier",
            teacher=dict(teacher="classifier", teacher_embedding=dict(type="kdhub.ModuleInput", path="classifier")),
        )
    ),
)
