# EZAD, stage C: a two-stage detector of names, which puts its regions where the image-text model has them.
_base_ = ["_base_/ovd_names.py"]

default_scope = "mmdet"
predecessors = dict(regions="ezad-b_coco-cc.py")
bank = "@regions/names.safetensors"
scale = (320, 320)
count = 65

student = dict(
    type="FasterRCNN",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[127.0, 127.0, 127.0],
        std=[128.0, 128.0, 128.0],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type="EfficientNet",
        arch="b0",
        act_cfg=dict(type="ReLU6"),
        out_indices=(2, 3, 4, 5),
        norm_eval=True,
        init_cfg=dict(type="Pretrained", checkpoint="data/weights/efficientnet-lite0_mmdet.pth"),
    ),
    neck=dict(type="FPN", in_channels=[24, 40, 112, 320], out_channels=64, num_outs=5),
    rpn_head=dict(
        type="RPNHead",
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(type="AnchorGenerator", scales=[4], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[1.0] * 4),
        loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=1.0),
    ),
    roi_head=dict(
        type="kddet.RegionRoIHead",
        bbox_roi_extractor=dict(
            type="SingleRoIExtractor",
            roi_layer=dict(type="RoIAlign", output_size=7, sampling_ratio=0),
            out_channels=64,
            featmap_strides=[4, 8, 16, 32],
        ),
        # smaller than the paper's, which has 3 shared convolutions, and a convolution and two layers for classes and for boxes
        bbox_head=dict(
            type="ConvFCBBoxHead",
            num_shared_convs=1,
            num_shared_fcs=0,
            num_cls_convs=0,
            num_cls_fcs=1,
            num_reg_convs=0,
            num_reg_fcs=1,
            in_channels=64,
            conv_out_channels=64,
            fc_out_channels=512,
            roi_feat_size=7,
            num_classes=count,
            reg_class_agnostic=False,
            cls_predictor_cfg=dict(type="kddet.TextClassifier", names=bank, trained=_base_.base),
            reg_predictor_cfg=dict(type="kddet.SemanticRegressor", names=bank),
            bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
            loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
            loss_bbox=dict(type="L1Loss", loss_weight=1.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(
            assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.7, neg_iou_thr=0.3, min_pos_iou=0.3),
            sampler=dict(type="RandomSampler", num=256, pos_fraction=0.5, neg_pos_ub=-1, add_gt_as_proposals=False),
            allowed_border=-1,
            pos_weight=-1,
            debug=False,
        ),
        rpn_proposal=dict(nms_pre=1000, max_per_img=300, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(
            assigner=dict(
                type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.5, min_pos_iou=0.5, match_low_quality=False
            ),
            sampler=dict(type="RandomSampler", num=128, pos_fraction=0.25, neg_pos_ub=-1, add_gt_as_proposals=True),
            pos_weight=-1,
            debug=False,
        ),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=300, nms=dict(type="nms", iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(score_thr=0.0, nms=dict(type="nms", iou_threshold=0.5), max_per_img=100),
    ),
)
model = dict(
    type="kdhub.Distiller",
    student=student,
    teacher=dict(type="kddet.RegionTeacher", folder="@regions"),
    objectives=dict(
        regions=dict(
            loss=dict(type="kddet.RegionEmbeddingKD"),
            student="roi_head.region_embeddings",
            teacher="embeddings",
            weight=1.0,
        ),
    ),
)
del student

load = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=scale, keep_ratio=True),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="kddet.BaseBoxes",
        classes=_base_.names,
        base=_base_.base,
        data_root="data/coco_cc",
        ann_file="train/instances.json",
        data_prefix=dict(img="train/"),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=[
            *load,
            dict(type="RandomFlip", prob=0.5),
            dict(
                type="PackDetInputs",
                # the last tells AttachRegions of turns and shears
                meta_keys=(
                    "img_id",
                    "img_path",
                    "ori_shape",
                    "img_shape",
                    "scale_factor",
                    "flip",
                    "flip_direction",
                    "homography_matrix",
                ),
            ),
            dict(type="kddet.AttachRegions", folder="@regions", count=40),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="kddet.BaseBoxes",
        classes=_base_.names,
        data_root="data/coco_cc",
        ann_file="val/instances.json",
        data_prefix=dict(img="val/"),
        test_mode=True,
        pipeline=[
            *load,
            dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
        ],
    ),
)
del load
val_cfg = dict(type="ValLoop")
val_evaluator = dict(type="kddet.CocoGroups", ann_file="data/coco_cc/val/instances.json")
iterations = 1000
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=10),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=100),
    dict(type="PolyLR", power=0.9, eta_min=0.0, by_epoch=False, begin=100, end=iterations),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=iterations, val_interval=iterations)
randomness = dict(seed=0)
custom_hooks = [dict(type="kddet.PanelHook")]
