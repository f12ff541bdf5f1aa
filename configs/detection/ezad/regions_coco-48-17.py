# EZAD, stage B: 15 anchors at every 32 pixels, some 15,000 crops of an image. A job for days of one GPU; it goes on where it stopped.
_base_ = ["../../../plugins/kdhub-detection/kddet/configs/_base_/ovd_names.py"]

predecessors = dict(adapted="adapt-clip_12e_coco-48-17.py")
job = dict(
    type="kddet.Propose",
    model="@adapted/student",
    ann_file="data/coco/annotations/instances_train2017.json",
    images="data/coco/train2017",
    base=_base_.base,
    names=_base_.names,
    batch_size=512,
)
work_dir = "work_dirs/ezad-coco-48-17/regions"
