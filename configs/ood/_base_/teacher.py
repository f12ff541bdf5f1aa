# the small language model that was pretrained on docstrings, fine-tuned on text in distribution
model = dict(
    type="kdhub.TorchModel",
    net=dict(
        type="transformers.AutoModelForCausalLM.from_pretrained",
        pretrained_model_name_or_path="work_dirs/evidence/docstrings-lm/student",
    ),
)
