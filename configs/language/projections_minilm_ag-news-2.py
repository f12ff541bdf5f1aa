# the job that fits LELP's projections on the teacher's training texts
job = dict(
    type="kdlm.fit_projections",
    model=dict(
        type="kdhub.TorchModel",
        net=dict(
            type="transformers.AutoModelForSequenceClassification.from_pretrained",
            pretrained_model_name_or_path="work_dirs/ag-news-2/teacher/student",
        ),
    ),
    dataset=dict(
        type="kdood.AGNews",
        split="train",
        classes=["Business", "Sci/Tech"],
        part="in",
        labelled=True,
        tokenizer="data/evidence/minilm",
        max_length=32,
    ),
    subclasses=4,
)
