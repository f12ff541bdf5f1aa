_base_ = ["_base_/ag-news-2.py", "_base_/minilm.py"]
model = dict(net=dict(num_labels=2))
train_cfg = dict(type="IterBasedTrainLoop", max_iters=130, val_interval=130)
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=False, T_max=130, eta_min=0.0)]
optim_wrapper = dict(optimizer=dict(lr=1e-4))
