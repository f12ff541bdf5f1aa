job = dict(type="kdlm.docstrings")
