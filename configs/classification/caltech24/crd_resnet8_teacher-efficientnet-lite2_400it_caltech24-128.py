# A rival: which feature of the student belongs to which of the teacher, out of a bank of all 960 images.
_base_ = ["_base_/caltech24.py", "_base_/cnn.py", "_base_/taught.py"]
train_dataloader = dict(dataset=dict(_delete_=True, type="kdcls.Indexed", data=_base_.train_dataloader.dataset))
model = dict(
    type="kdhub.Distiller",
    student=dict(_base_.student, fields=["index"]),
    # images that say their place are other data, so the answers are a store of their own: `kdhub cache` of this file fills it
    teacher=dict(_base_.teacher, store="work_dirs/caltech24/store-indexed", precision="float16"),
    objectives=dict(
        # 0.8 is the usual protocol's weight
        features=dict(
            loss=dict(type="kdcls.CRD", in_features=64, out_features=1280, samples=960, negatives=512),
            student=dict(type="kdhub.ModuleInput", path="fc"),
            teacher="global_pool",
            weight=0.8,
        ),
    ),
)
student = teacher = None
