# The student on the boxes alone: what the distilled one is compared with.
_base_ = ["_base_/coco_cc_320.py", "_base_/centernet_lite0.py"]

# CenterNet's decoder takes the border off again; images are read to a multiple of 32
test_pipeline = [
    dict(type="LoadImageFromFile", to_float32=True),
    dict(type="Resize", scale=(320, 320), keep_ratio=True),
    dict(
        type="RandomCenterCropPad",
        ratios=None,
        border=None,
        mean=[0, 0, 0],
        std=[1, 1, 1],
        to_rgb=True,
        test_mode=True,
        test_pad_mode=["logical_or", 31],
        test_pad_add_pix=1,
    ),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "border")),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
