"""Knowledge distillation of semantic segmentation models, as a plugin of kdhub."""
