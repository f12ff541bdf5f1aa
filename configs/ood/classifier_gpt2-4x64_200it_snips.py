_base_ = ["_base_/snips.py", "_base_/classifier.py"]
model = dict(net=dict(num_labels=5))
train_dataloader = dict(dataset=dict(labelled=True))
val_dataloader = dict(dataset=dict(labelled=True))
test_dataloader = dict(dataset=dict(labelled=True))
val_evaluator = dict(_delete_=True, type="kdlm.ClassificationFigures")
test_evaluator = dict(score="msp")
