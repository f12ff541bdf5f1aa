_base_ = ["students/fcn_hr18s_4xb2-80k_ade20k-512x512.py", "_base_/bpkd.py"]

model = dict(
    _delete_=True,
    type="kdhub.Distiller",
    student=_base_.model,
    teacher=dict(
        type="kdhub.ModelTeacher",
        model="mmseg::hrnet/fcn_hr48_4xb4-160k_ade20k-512x512.py",
        checkpoint="https://mmassets.onedl.ai/mmsegmentation/v0.5/hrnet/fcn_hr48_512x512_160k_ade20k/fcn_hr48_512x512_160k_ade20k_20200614_214407-a52fc02c.pth",
    ),
    objectives=_base_.objectives,
)
