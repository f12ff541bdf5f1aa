_base_ = ["mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py", "_base_/bpkd.py"]

model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student=_base_.model,
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="mmseg::segformer/segformer_mit-b2_8xb1-160k_cityscapes-1024x1024.py",
        checkpoint="https://mmassets.onedl.ai/mmsegmentation/v0.5/segformer/segformer_mit-b2_8x1_1024x1024_160k_cityscapes/segformer_mit-b2_8x1_1024x1024_160k_cityscapes_20211207_134205-6096669a.pth",
    ),
    objectives=_base_.objectives,
)
