# the recipe `kdret:docstrings-minilm`, which `kdhub demo` trains; it lies inside the plugin, so that the wheel has it
_base_ = ["../../plugins/kdhub-retrieval/kdret/configs/embed-kl_minilm-l2_teacher-minilm-l6_180it_docstrings.py"]
