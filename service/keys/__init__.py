"""API keys: who may call, with what limits. Keys are kept as hashes and can change while the service runs."""

from service.keys.entry import KeyEntry, read_entries
from service.keys.store import KeyStore

__all__ = ["KeyEntry", "KeyStore", "read_entries"]
