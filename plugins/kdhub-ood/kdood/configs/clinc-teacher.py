# stage 1: a language model that was pretrained on other text is fine-tuned on text in distribution
_base_ = ["_base_/clinc.py"]
predecessors = dict(pretrained="kdlm:docstrings-lm")
model = dict(
    type="kdhub.TorchModel",
    net=dict(
        type="transformers.AutoModelForCausalLM.from_pretrained",
        pretrained_model_name_or_path="@pretrained/student",
    ),
)
train_dataloader = dict(dataset=dict(tokenizer="@pretrained/student"))
val_dataloader = dict(dataset=dict(tokenizer="@pretrained/student"))
test_dataloader = dict(dataset=dict(tokenizer="@pretrained/student"))
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=1)
