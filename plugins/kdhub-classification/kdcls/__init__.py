"""kdhub-classification: image classifiers as students and teachers."""
