# EZAD, stage C: Faster R-CNN on ResNet-50 whose classes are names. The head is the authors'.
_base_ = [
    "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "../../../plugins/kdhub-detection/kddet/configs/_base_/ovd_names.py",
]

predecessors = dict(regions="regions_coco-48-17.py")
student = _base_.model
student.roi_head.type = "kddet.RegionRoIHead"
student.roi_head.bbox_head = dict(
    type="ConvFCBBoxHead",
    num_shared_convs=3,
    num_cls_convs=1,
    num_cls_fcs=2,
    num_reg_convs=1,
    num_reg_fcs=2,
    in_channels=256,
    conv_out_channels=256,
    fc_out_channels=1024,
    roi_feat_size=7,
    num_classes=65,
    reg_class_agnostic=False,
    cls_predictor_cfg=dict(type="kddet.TextClassifier", names="@regions/names.safetensors", trained=_base_.base),
    reg_predictor_cfg=dict(type="kddet.SemanticRegressor", names="@regions/names.safetensors"),
    bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0] * 4, target_stds=[0.1, 0.1, 0.2, 0.2]),
    loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    loss_bbox=dict(type="L1Loss", loss_weight=1.0),
)
student.test_cfg.rcnn.update(score_thr=0.0, max_per_img=300)
model = dict(
    _delete_=True,
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

# boxes of 48 classes in training and of 65 in validation; the authors' rate for two GPUs with 2 images each
keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
load = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
]
attach = [
    dict(type="RandomFlip", prob=0.5),
    # the last tells AttachRegions of turns and shears
    dict(type="PackDetInputs", meta_keys=(*keys, "flip", "flip_direction", "homography_matrix")),
    dict(type="kddet.AttachRegions", folder="@regions"),
]
train_dataloader = dict(
    _delete_=True,
    batch_size=2,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="AspectRatioBatchSampler"),
    dataset=dict(
        type="kddet.BaseBoxes",
        classes=_base_.names,
        base=_base_.base,
        data_root="data/coco",
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017/"),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=[*load, *attach],
    ),
)
val_dataloader = dict(
    _delete_=True,
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="kddet.BaseBoxes",
        classes=_base_.names,
        data_root="data/coco",
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img="val2017/"),
        test_mode=True,
        pipeline=[*load, dict(type="PackDetInputs", meta_keys=keys)],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, type="kddet.CocoGroups", ann_file="data/coco/annotations/instances_val2017.json")
test_evaluator = val_evaluator
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.005, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=10),
)
del keys, load, attach
