_base_ = ["mmseg::hrnet/fcn_hr18s_4xb2-80k_cityscapes-512x1024.py", "_base_/bpkd.py"]

model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student=_base_.model,
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="mmseg::hrnet/fcn_hr48_4xb2-160k_cityscapes-512x1024.py",
        checkpoint="https://mmassets.onedl.ai/mmsegmentation/v0.5/hrnet/fcn_hr48_512x1024_160k_cityscapes/fcn_hr48_512x1024_160k_cityscapes_20200602_190946-59b7973e.pth",
    ),
    objectives=_base_.objectives,
)
