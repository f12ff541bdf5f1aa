# EZAD without the semantic regressor: one box for all classes, which no name moves.
_base_ = ["../../../plugins/kdhub-detection/kddet/configs/ezad_faster-rcnn-lite0_coco-cc-320.py"]
predecessors = dict(_delete_=True, regions="kddet:ezad-regions")
model = dict(
    student=dict(
        roi_head=dict(
            bbox_head=dict(reg_class_agnostic=True, reg_predictor_cfg=dict(_delete_=True, type="Linear")),
        )
    )
)
