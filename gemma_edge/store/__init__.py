"""The store: model files fetched once, checked, and kept where other programs find them too.

``ensure`` is the whole of it for most callers; everything else is for the commands that show,
prove and delete. Importing this loads neither huggingface_hub nor a socket.
"""

from gemma_edge.store.audit import Verdict, verify
from gemma_edge.store.progress import Listener
from gemma_edge.store.download import Upstream
from gemma_edge.store.ensure import ensure, missing_files
from gemma_edge.store.importing import import_file
from gemma_edge.store.inventory import Removal, StoredFile, list_files, plan_removal, remove
from gemma_edge.store.lock import LockEntry, Locks, read_lock
from gemma_edge.store.peek import ask, read_part
from gemma_edge.store.progress import Progress
from gemma_edge.store.remote import RemoteFile, is_remote, parse_remote
from gemma_edge.store.settings import StoreSettings

__all__ = [
    "Listener",
    "LockEntry",
    "Locks",
    "Progress",
    "RemoteFile",
    "Removal",
    "StoreSettings",
    "StoredFile",
    "Upstream",
    "Verdict",
    "ask",
    "ensure",
    "import_file",
    "is_remote",
    "list_files",
    "missing_files",
    "parse_remote",
    "plan_removal",
    "read_lock",
    "read_part",
    "remove",
    "verify",
]
