# ViLD, EZAD's rival: the same detector, distilled on the proposals of an RPN.
_base_ = ["../../../plugins/kdhub-detection/kddet/configs/ezad_faster-rcnn-lite0_coco-cc-320.py"]
predecessors = dict(_delete_=True, regions="vild-regions_coco-cc.py")
