_base_ = "mmseg::hrnet/fcn_hr18s_4xb4-80k_ade20k-512x512.py"

train_dataloader = dict(batch_size=2)
