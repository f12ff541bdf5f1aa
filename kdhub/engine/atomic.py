"""Writing so that a full disk or a crash leaves what was there before, as the engine has always offered it."""

from kdhub.files import NO_SPACE, atomic_file, atomic_folder, plain, storage_error, write_json, write_text

__all__ = ["NO_SPACE", "atomic_file", "atomic_folder", "plain", "storage_error", "write_json", "write_text"]
