# Channel-wise distillation on the FPN, and the teacher's second stage on the student's proposals.
_base_ = ["mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"]

student = _base_.model
student.backbone.update(depth=18, init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet18"))
student.neck.update(in_channels=[64, 128, 256, 512])
teacher = dict(
    model="mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    checkpoint="https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r50_fpn_1x_coco/faster_rcnn_r50_fpn_1x_coco_20200130-047c8118.pth",
)
model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student=student,
    teachers=dict(
        features=dict(type="kdhub.ModelTeacher", **teacher),
        proposals=dict(type="kddet.ProposalTeacher", **teacher),
    ),
    objectives=dict(
        places=dict(loss=dict(type="kddet.ChannelWise"), student="neck", teacher="features:neck", weight=10.0),
        scores=dict(
            loss=dict(type="kdhub.TemperatureKL"),
            student=dict(type="kdhub.ModuleOutput", path="roi_head.bbox_head", key=0),
            teacher="proposals:scores",
            weight=1.0,
        ),
        boxes=dict(
            loss=dict(type="kddet.ProposalBoxes"),
            student=dict(type="kdhub.ModuleOutput", path="roi_head.bbox_head", key=1),
            teacher=dict(teacher="proposals:boxes", teacher_scores="proposals:scores"),
            weight=1.0,
        ),
    ),
)
