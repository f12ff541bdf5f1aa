# Correlation of the two FPNs, channel by channel.
_base_ = ["mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"]

model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student=_base_.model,
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="mmdet::retinanet/retinanet_r50_fpn_1x_coco.py",
        checkpoint="https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_r50_fpn_1x_coco/retinanet_r50_fpn_1x_coco_20200130-c2398f9e.pth",
    ),
    objectives=dict(fpn=dict(loss=dict(type="kddet.PKD"), student="neck", teacher="neck", weight=6.0)),
)
