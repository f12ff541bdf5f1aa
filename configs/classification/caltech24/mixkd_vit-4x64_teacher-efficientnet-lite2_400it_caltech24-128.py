# MIX-KD: a tenth of the images is mixed as it is loaded, and logits are divided by their spread.
_base_ = ["_base_/caltech24.py", "_base_/vit.py", "_base_/taught.py"]
train_dataloader = dict(
    dataset=dict(data=dict(_delete_=True, type="kdcls.MixedData", data=_base_.train_dataloader.dataset.data))
)
model = dict(
    type="kdhub.Distiller",
    student=dict(_base_.student, criterion=dict(type="kdcls.RescaledCrossEntropy")),
    # the teacher's answers to mixed images are a store of their own
    teacher=dict(_base_.teacher, store="work_dirs/caltech24/store-mixed", precision="float32"),
    objectives=dict(
        rescaled=dict(loss=dict(type="kdcls.RescaledKL"), student="head", teacher="classifier", weight=0.9),
    ),
    task_weight=0.1,
)
student = teacher = None
