# CenterNet on EfficientNet-Lite0 with ImageNet weights, as mmdet's own EfficientNet: heat maps of 80 x 80.
model = dict(
    type="CenterNet",
    data_preprocessor=dict(
        type="DetDataPreprocessor", mean=[127.0, 127.0, 127.0], std=[128.0, 128.0, 128.0], bgr_to_rgb=True
    ),
    backbone=dict(
        type="EfficientNet",
        arch="b0",
        act_cfg=dict(type="ReLU6"),
        out_indices=(5,),
        init_cfg=dict(type="Pretrained", checkpoint="data/weights/efficientnet-lite0_mmdet.pth"),
    ),
    neck=dict(
        type="CTResNetNeck",
        in_channels=320,
        num_deconv_filters=(128, 64, 64),
        num_deconv_kernels=(4, 4, 4),
        use_dcn=False,
    ),
    bbox_head=dict(
        type="CenterNetHead",
        num_classes=80,
        in_channels=64,
        feat_channels=64,
        loss_center_heatmap=dict(type="GaussianFocalLoss", loss_weight=1.0),
        loss_wh=dict(type="L1Loss", loss_weight=0.1),
        loss_offset=dict(type="L1Loss", loss_weight=1.0),
    ),
    train_cfg=None,
    test_cfg=dict(topk=100, local_maximum_kernel=3, max_per_img=100),
)
