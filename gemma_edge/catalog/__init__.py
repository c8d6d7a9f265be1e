"""The models that exist, one TOML file a size, and what a person may call them.

``resolve`` names files that are on this machine, ``wanted`` those of the hub that a name stands
for. Nothing is read before it is asked for.
"""

from gemma_edge.catalog.files import ModelFiles, names, resolve
from gemma_edge.catalog.names import Kind, Wanted, choose_quant, kind_of, known_file, wanted
from gemma_edge.catalog.sizes import (
    DEFAULT_IMAGE_TOKENS,
    CatalogFile,
    Dimensions,
    Quality,
    Quant,
    Size,
    models_folder,
    read_size,
    size,
    sizes,
)

__all__ = [
    "DEFAULT_IMAGE_TOKENS",
    "CatalogFile",
    "Dimensions",
    "Kind",
    "ModelFiles",
    "Quality",
    "Quant",
    "Size",
    "Wanted",
    "choose_quant",
    "kind_of",
    "known_file",
    "models_folder",
    "names",
    "read_size",
    "resolve",
    "size",
    "sizes",
    "wanted",
]
