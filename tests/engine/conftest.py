"""Makes ``tests/engine/tiny.py`` importable, here and in the subprocesses of the tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
