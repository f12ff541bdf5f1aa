# the CIFAR-100 protocol on CIFAR-10. Files in data/cifar10; `download=True` in `data` fetches them
_base_ = ["cifar100.py"]
mean, std = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
train_dataloader, val_dataloader, test_dataloader = (
    _base_.train_dataloader,
    _base_.val_dataloader,
    _base_.test_dataloader,
)
for loader in (train_dataloader, val_dataloader, test_dataloader):
    loader.dataset.data.update(type="torchvision.datasets.CIFAR10", root="data/cifar10")
    loader.dataset.data.transform.transforms[-1].update(mean=mean, std=std)
del loader
