"""Adaptation of an image-text model: what trains, what stays bit-equal, the loss."""

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from kddet.regions.adaptation import crop_classification, train_layer_norms
from kdhub.api import UsageError


def tiny_clip():
    text = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": 20,
        "max_position_embeddings": 6,
        "eos_token_id": 19,
    }
    vision = {
        "hidden_size": 12,
        "intermediate_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 4,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=6))


def test_the_cards_number():
    """Sigmoid over names and not softmax: logits (2, -1, 0) with label 0 give 0.377779."""
    loss = crop_classification([torch.tensor([[2.0, -1.0, 0.0]])], [torch.tensor([0])])
    assert loss.item() == pytest.approx(0.377779, abs=1e-6)


def test_images_count_by_their_crops():
    """Three crops in one image and one in another: each crop a quarter, not each image a half."""
    logits, labels = torch.randn(4, 5), torch.tensor([0, 1, 2, 3])
    parts = crop_classification([logits[:3], logits[3:]], [labels[:3], labels[3:]])
    torch.testing.assert_close(parts, crop_classification([logits], [labels]))
    torch.testing.assert_close(
        crop_classification([logits], [labels], "ce"), torch.nn.functional.cross_entropy(logits, labels)
    )


def test_an_image_without_boxes():
    """It must be skipped; a mean over no crop is NaN and ends the run."""
    logits = torch.zeros(0, 3, requires_grad=True)
    loss = crop_classification([logits], [torch.zeros(0, dtype=torch.long)])
    loss.backward()
    assert loss == 0
    with pytest.raises(UsageError, match="'bce' or 'ce'"):
        crop_classification([logits], [torch.zeros(0, dtype=torch.long)], "mse")


def test_only_layer_norms_move():
    """One tensor too many and the text space is no longer that of the names at test time."""
    torch.manual_seed(0)
    model = tiny_clip()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = train_layer_norms(model)
    # vision: before and after the blocks and two in each, text: after them and two in each; weight and bias
    assert sum(parameter.numel() for parameter in trained.values()) == 2 * (6 * 12 + 5 * 8)
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-2, weight_decay=1e-2)
    out = model(input_ids=torch.tensor([[1, 2, 19], [3, 4, 19]]), pixel_values=torch.randn(2, 3, 8, 8))
    crop_classification([out.logits_per_image], [torch.tensor([0, 1])]).backward()
    optimizer.step()
    moved = {name for name, tensor in model.state_dict().items() if not tensor.equal(before[name])}
    assert moved <= set(trained)
    assert len(moved) > len(trained) / 2
    assert all(parameter.grad is None for name, parameter in model.named_parameters() if name not in trained)


def test_the_count_of_clip():
    """65,536 numbers in ViT-B/32: 26 LayerNorms of width 768 and 25 of width 512, built without memory."""
    with torch.device("meta"):
        model = CLIPModel(CLIPConfig())
    assert sum(parameter.numel() for parameter in train_layer_norms(model).values()) == 65_536


def test_a_model_without_layer_norms():
    """A ResNet-CLIP's image tower has none; nothing would train, and nothing say so."""
    with pytest.raises(UsageError, match="nothing to adapt.*got Linear"):
        train_layer_norms(torch.nn.Linear(2, 2))
