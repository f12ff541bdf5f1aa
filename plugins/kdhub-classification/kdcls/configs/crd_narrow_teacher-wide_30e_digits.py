# CRD beside logits; one command: the teacher is trained first, and never again while its config is the same
_base_ = ["kl_narrow_teacher-wide_30e_digits.py"]
train_dataloader = dict(
    dataset=dict(_delete_=True, type="kdcls.Indexed", data=dict(type="kdcls.Digits", split="train"))
)
model = dict(
    student=dict(fields=["index"]),
    objectives=dict(
        features=dict(
            loss=dict(type="kdcls.CRD", in_features=128, out_features=1024, samples=1097, negatives=256),
            student=dict(type="kdhub.ModuleInput", path="classifier"),
            teacher=dict(type="kdhub.ModuleInput", path="classifier"),
            weight=0.8,
        )
    ),
)
