# one command: text, tokenizer and teacher are made first
_base_ = ["_base_/docstrings.py"]
predecessors = dict(_delete_=True, teacher="kdlm:docstrings-lm")
model = dict(
    type="kdhub.Distiller",
    student=dict(
        type="kdhub.TorchModel",
        net=dict(
            type="transformers.AutoModelForCausalLM.from_config",
            config=dict(
                type="transformers.GPT2Config",
                vocab_size=2048,
                n_positions=128,
                n_embd=64,
                n_layer=2,
                n_head=4,
                bos_token_id=0,
                eos_token_id=0,
                pad_token_id=0,
            ),
        ),
    ),
    teacher=dict(
        type="kdhub.ModelTeacher",
        model=dict(
            type="kdhub.TorchModel",
            net=dict(
                type="transformers.AutoModelForCausalLM.from_pretrained",
                pretrained_model_name_or_path="@teacher/student",
            ),
        ),
        batch="student",
    ),
    objectives=dict(
        logits=dict(
            loss=dict(type="kdhub.TemperatureKL", class_axis=-1),
            student="lm_head",
            teacher="lm_head",
            batch=dict(mask="inputs.attention_mask"),
        )
    ),
)
train_dataloader = dict(dataset=dict(path="@teacher/tokens/text/train.txt", tokenizer="@teacher/tokens/tokenizer"))
val_dataloader = dict(dataset=dict(path="@teacher/tokens/text/val.txt", tokenizer="@teacher/tokens/tokenizer"))
test_dataloader = val_dataloader
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
