# the first four of its layers, to be cheap enough to answer in each step
_base_ = ["_base_/snips.py", "_base_/minilm.py"]
model = dict(net=dict(num_hidden_layers=4, num_labels=7))
train_cfg = dict(type="IterBasedTrainLoop", max_iters=54, val_interval=54)
param_scheduler = [dict(type="CosineAnnealingLR", by_epoch=False, T_max=54, eta_min=0.0)]
optim_wrapper = dict(optimizer=dict(lr=1e-4))
