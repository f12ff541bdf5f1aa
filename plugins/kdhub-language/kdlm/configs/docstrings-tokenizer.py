predecessors = dict(text="docstrings-text.py")
job = dict(type="kdlm.train_tokenizer", files=["@text/train.txt"], size=2048, max_length=1024)
