"""Losses on logits and on feature maps of image classifiers."""
