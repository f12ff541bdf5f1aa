# all six layers of all-MiniLM-L6-v2, fine-tuned
model = dict(
    type="kdhub.TorchModel",
    net=dict(
        type="transformers.AutoModelForSequenceClassification.from_pretrained",
        pretrained_model_name_or_path="data/evidence/minilm",
    ),
)
