"""Plain torch code as parts of a run: what wraps any module or data set, and what measures it, without knowing a library.

A class belongs here if it works for code that never heard of mmengine. Whatever knows one library belongs into a plugin.
"""

from kdhub.models.accuracy import Accuracy
from kdhub.models.torch_dataset import TorchDataset
from kdhub.models.torch_model import TorchModel

__all__ = ["Accuracy", "TorchDataset", "TorchModel"]
