# requests of seven intents
_base_ = ["classification.py"]
texts = dict(type="kdood.Snips")
train_dataloader = dict(dataset=texts)
val_dataloader = dict(dataset=texts)
test_dataloader = dict(dataset=texts)
del texts
