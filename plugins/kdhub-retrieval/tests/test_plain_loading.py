"""What a user takes away of each kind: sentence-transformers alone loads it, and it gives the numbers that were trained."""

import json
import subprocess
import sys

import numpy as np
import sentence_transformers

from kdret.cross_encoder import CrossEncoder
from kdret.encoder import SentenceEncoder
from kdret.export import export_student
from kdret.multi_vector_encoder import MultiVectorEncoder
from kdret.sparse_encoder import SparseEncoder

KINDS = {
    "tiny_encoder": SentenceEncoder,
    "tiny_sparse": SparseEncoder,
    "tiny_multi": MultiVectorEncoder,
    "tiny_cross": CrossEncoder,
}
PROGRAM = """
import json, sys
class NoKdhub:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("kdhub", "kdret", "mmengine"):
            raise ImportError(name)
sys.meta_path.insert(0, NoKdhub())
import sentence_transformers
found = {}
for name, kind in json.loads(sys.argv[1]).items():
    model = getattr(sentence_transformers, kind)(name, device="cpu")
    if kind == "CrossEncoder":
        numbers = model.predict([("read file", "open csv")])
    else:
        (numbers,) = model.encode_document(["read file"])
    numbers = numbers.to_dense() if hasattr(numbers, "to_dense") else numbers
    found[kind] = [[round(float(one), 5) for one in numbers.reshape(-1)], model[0].auto_model.config.num_hidden_layers]
print(json.dumps(found))
"""


def test_each_kind_loads_where_kdhub_is_not_installed(request, tmp_path):
    """Needing us, or other numbers than those of training, would make a student useless where it is deployed."""
    folders, expected = {}, {}
    for fixture, kind in KINDS.items():
        student = kind(request.getfixturevalue(fixture), layers=[0, 3]).eval()
        folder = tmp_path / kind.__name__
        folder.mkdir()
        library = export_student(student, folder).partition("(")[0].rpartition(".")[2]
        assert getattr(sentence_transformers, library) is kind.model_class
        folders[str(folder)] = library
        if kind is CrossEncoder:
            expected[library] = student.encoder.predict([("read file", "open csv")])
        else:
            (numbers,) = student.encoder.encode_document(["read file"])
            expected[library] = numbers.to_dense() if hasattr(numbers, "to_dense") else numbers
    command = [sys.executable, "-W", "error::UserWarning", "-c", PROGRAM, json.dumps(folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found.keys() == {kind.model_class.__name__ for kind in KINDS.values()}
    for library, (numbers, layers) in found.items():
        np.testing.assert_allclose(numbers, np.asarray(expected[library]).reshape(-1), atol=2e-5)
        assert layers == 2
    assert "not initialized" not in done.stderr
