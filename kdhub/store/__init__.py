"""The teacher store: values of taps on disk, bound to what they depend on, and never wrong in silence."""

from kdhub.store.accuracy import measured_errors
from kdhub.store.damage import DamagedStoreError
from kdhub.store.manifest import Manifest
from kdhub.store.merging import merge_store
from kdhub.store.precision import Precision
from kdhub.store.reader import StoreReader
from kdhub.store.tree import Node, find_tree
from kdhub.store.upkeep import StoreInfo, repair, store_info, verify
from kdhub.store.writer import StoreWriter

__all__ = [
    "DamagedStoreError",
    "Manifest",
    "Node",
    "Precision",
    "StoreInfo",
    "StoreReader",
    "StoreWriter",
    "find_tree",
    "measured_errors",
    "merge_store",
    "repair",
    "store_info",
    "verify",
]
