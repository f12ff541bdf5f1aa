"""kdhub-language: language models and text classifiers as students and teachers."""
