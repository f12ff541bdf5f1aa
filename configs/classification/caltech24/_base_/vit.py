# The transformer student: 4 blocks of width 64 on 8 x 8 squares of 16 pixels and a class token. 0.4 M parameters
student = dict(
    type="kdhub.TorchModel",
    net=dict(
        type="timm.create_model",
        model_name="vit_tiny_patch16_224",
        img_size=128,
        patch_size=16,
        embed_dim=64,
        depth=4,
        num_heads=2,
        num_classes=24,
    ),
    criterion=dict(type="torch.nn.CrossEntropyLoss"),
    data_preprocessor=dict(type="ImgDataPreprocessor", mean=[127.5] * 3, std=[127.5] * 3),
)
