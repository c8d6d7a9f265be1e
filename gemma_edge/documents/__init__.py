"""Documents and images that people name, read safely. Importing this loads no library."""

from gemma_edge.documents.document import Document, Page
from gemma_edge.documents.reading import open_document, read_document

__all__ = ["Document", "Page", "open_document", "read_document"]
