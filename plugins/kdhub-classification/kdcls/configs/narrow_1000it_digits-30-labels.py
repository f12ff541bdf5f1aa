# one image in eight of a batch has a label; the student alone learns from those only
_base_ = ["_base_/digits.py"]
train_dataloader = dict(
    batch_size=64,
    sampler=dict(_delete_=True, type="kdcls.FewLabels", every=8),
    dataset=dict(labelled=30),
)
model = dict(
    type="kdhub.TorchModel",
    net=dict(type="kdcls.DigitNet", width=16, noise=0.2, shift=1, dropout=0.3),
    criterion=dict(type="torch.nn.CrossEntropyLoss"),
)
train_cfg = dict(by_epoch=False, max_iters=1000, val_interval=250)
