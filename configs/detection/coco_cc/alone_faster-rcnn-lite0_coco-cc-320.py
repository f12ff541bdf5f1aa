# EZAD's detector on the boxes of base classes alone: what each distilled one is compared with.
_base_ = ["../../../plugins/kdhub-detection/kddet/configs/ezad_faster-rcnn-lite0_coco-cc-320.py"]
predecessors = dict(_delete_=True, regions="kddet:ezad-regions")
model = dict(objectives=dict(regions=None))
