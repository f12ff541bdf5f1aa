# EZAD, stage B: regions that the adapted model is sure of, and the base boxes, with their embeddings. Fewer anchors than the paper's.
_base_ = ["_base_/ovd_names.py"]

predecessors = dict(adapted="ezad-a_lite2-minilm_coco-cc.py")
job = dict(
    type="kddet.Propose",
    model="@adapted/student",
    ann_file="data/coco_cc/train/instances.json",
    images="data/coco_cc/train",
    base=_base_.base,
    names=_base_.names,
    scale=(320, 320),
    stride=64,
    scales=(2, 4, 8),
    candidates=60,
    keep=40,
)
work_dir = "work_dirs/ezad-coco-cc/regions"
