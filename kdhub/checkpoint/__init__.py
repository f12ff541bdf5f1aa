"""Reading weights without running code: safetensors, and checkpoints that need no unpickling."""

from kdhub.checkpoint.mmengine_bridge import safe_loading
from kdhub.checkpoint.reading import read_checkpoint, reads_back
from kdhub.checkpoint.weights import fit_weights, load_weights

__all__ = ["fit_weights", "load_weights", "read_checkpoint", "reads_back", "safe_loading"]
