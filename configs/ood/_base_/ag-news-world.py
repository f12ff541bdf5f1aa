# news of the world are in distribution; those of business, sports and science are not
_base_ = ["texts.py"]
texts = dict(type="kdood.AGNews", classes=["World"])
train_dataloader = dict(batch_size=16, dataset=texts)
val_dataloader = dict(dataset=texts)
test_dataloader = dict(dataset=texts)
del texts
