"""Documents and images that people name, read safely. Importing this loads no library."""

from gemma_edge.documents.document import Box, Document, Page, Word
from gemma_edge.documents.page_numbers import PageNumbers
from gemma_edge.documents.reading import open_document, read_document
from gemma_edge.documents.rendering import render_image, render_page

__all__ = [
    "Box",
    "Document",
    "Page",
    "PageNumbers",
    "Word",
    "open_document",
    "read_document",
    "render_image",
    "render_page",
]
