"""Importing this module loads the plugins: ``custom_imports=dict(imports=['kdhub.autoload'])`` in a config.

For other people's ``tools/train.py``, which knows nothing of kdhub.
"""

from kdhub.registry.active import init

init()
