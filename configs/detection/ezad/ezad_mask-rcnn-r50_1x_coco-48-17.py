# EZAD, stage C, with masks: one for all names.
_base_ = ["ezad_faster-rcnn-r50_1x_coco-48-17.py"]

model = dict(
    student=dict(
        type="MaskRCNN",
        roi_head=dict(
            mask_roi_extractor=dict(
                type="SingleRoIExtractor",
                roi_layer=dict(type="RoIAlign", output_size=14, sampling_ratio=0),
                out_channels=256,
                featmap_strides=[4, 8, 16, 32],
            ),
            mask_head=dict(
                type="FCNMaskHead",
                num_convs=4,
                in_channels=256,
                conv_out_channels=256,
                num_classes=65,
                class_agnostic=1,
                loss_mask=dict(type="CrossEntropyLoss", use_mask=True, loss_weight=1.0),
            ),
        ),
        train_cfg=dict(rcnn=dict(mask_size=28)),
        test_cfg=dict(rcnn=dict(mask_thr_binary=0.5)),
    )
)
load, masks, *others = _base_.train_dataloader.dataset.pipeline
train_dataloader = dict(
    dataset=dict(pipeline=[load, dict(type="LoadAnnotations", with_bbox=True, with_mask=True), *others])
)
del load, masks, others
