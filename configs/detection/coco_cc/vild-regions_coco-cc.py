# ViLD's regions: those that an RPN finds, all of the same weight, whatever they show. With CLIP: --cfg-options job.model=FOLDER, which
# is not adapted then; the stand-in must be, as its projection is drawn at random.
_base_ = ["../../../plugins/kdhub-detection/kddet/configs/ezad-b_coco-cc.py"]
predecessors = dict(_delete_=True, adapted="kddet:ezad-adapt", detector="alone_faster-rcnn-lite0_coco-cc-320.py")
job = dict(by="rpn", detector="@detector/student", novel_only=False)
work_dir = "work_dirs/vild-coco-cc/regions"
