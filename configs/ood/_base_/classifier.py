# the rival that needs labels: the pretrained language model as a classifier of the texts in distribution
model = dict(
    type="kdhub.TorchModel",
    net=dict(
        type="transformers.AutoModelForSequenceClassification.from_pretrained",
        pretrained_model_name_or_path="work_dirs/evidence/docstrings-lm/student",
    ),
)
