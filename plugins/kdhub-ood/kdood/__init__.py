"""kdhub-ood: out-of-distribution detection in text by multi-level knowledge distillation."""
