# Features of the objects, and a tenth of the background. The student has torchvision's backbone, the teacher caffe's: each
# normalises the images in its own way.
_base_ = ["mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py"]

student = _base_.model
student.backbone.update(
    depth=18, style="pytorch", init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet18")
)
student.neck.update(in_channels=[64, 128, 256, 512])
student.data_preprocessor.update(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student=student,
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py",
        checkpoint="https://download.openmmlab.com/mmdetection/v2.0/fcos/fcos_r50_caffe_fpn_gn-head_1x_coco/fcos_r50_caffe_fpn_gn-head_1x_coco-821213aa.pth",
    ),
    objectives=dict(
        objects=dict(loss=dict(type="kddet.BoxMimic", background=0.1), student="neck", teacher="neck", weight=2.0)
    ),
)
