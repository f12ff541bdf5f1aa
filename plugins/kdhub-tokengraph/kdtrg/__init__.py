"""kdhub-tokengraph: distillation by graphs over the patch tokens of a batch."""
