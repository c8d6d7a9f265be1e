"""Do these files belong together, and can they be loaded at all? Pure over headers.

llama.cpp answers the same questions by failing late, in words about tensors, or by aborting.
"""

from gemma_edge.errors import ModelError, ProjectorError
from gemma_edge.gguf import Header

PROJECTOR_ARCHITECTURE = "clip"  # of every mmproj file

# Architectures of llama.cpp that encode and never write (llama-arch.cpp).
ENCODERS = (
    "bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2",
    "jina-bert-v3", "eurobert", "gemma-embedding", "t5encoder",
)  # fmt: skip


def check_model(header: Header) -> None:
    """Refuse what is a GGUF file but no language model.

    Raises:
        ModelError: a projector, a drafter, an importance matrix, an adapter, a later part of a
            split model, or a file without weights.
    """
    kind = header.metadata.get("general.type", "model")
    architecture = header.architecture
    if architecture == PROJECTOR_ARCHITECTURE or kind == "mmproj":
        raise ModelError(
            f"`{header.path}` is a projector (it sees for a model), not a model",
            hint=f"--model MODEL.gguf --mmproj {header.path}",
        )
    if kind == "imatrix" or any(key.startswith("imatrix.") for key in header.metadata):
        raise _other(header, "an importance matrix")
    if kind == "adapter":
        raise ModelError(
            f"`{header.path}` is a LoRA adapter, not a model",
            hint=f"--model MODEL.gguf --lora {header.path}",
        )
    if architecture in ENCODERS:
        raise _other(header, f"an embedding model (`{architecture}`), which writes nothing")
    if architecture.endswith("-assistant"):
        raise _other(header, f"a drafter (`{architecture}`), which cannot answer alone")
    if not architecture:
        raise _other(header, "a GGUF file without `general.architecture`")
    part = header.integer("split.no") or 0
    if part > 0:
        raise ModelError(
            f"`{header.path}` is part {part + 1} of a split model",
            hint="name the first part, ...-00001-of-....gguf",
        )
    if not header.tensors:
        raise _other(header, "a file without weights (a vocabulary)")


def check_pair(model: Header, projector: Header) -> None:
    """Refuse a projector that was not made for this model.

    Raises:
        ProjectorError: not a projector, or its width is not the model's.
    """
    if projector.architecture != PROJECTOR_ARCHITECTURE:
        raise ProjectorError(
            f"`{projector.path}` is not a projector but a model (`{projector.architecture}`)",
            hint="--mmproj takes the mmproj-....gguf file that comes with the model",
        )
    if projector.metadata.get("clip.has_vision_encoder") is not True:
        raise ProjectorError(
            f"`{projector.path}` holds no vision encoder",
            hint="--mmproj takes the mmproj-....gguf file that comes with the model",
        )
    made_for = projector.integer("clip.vision.projection_dim")
    width = model.integer(".embedding_length")
    if made_for != width:
        raise ProjectorError(
            f"`{projector.path.name}` belongs to another model: it is made for a width of "
            f"{made_for}, `{model.path.name}` has {width}",
            hint="--mmproj takes the projector of the same Gemma 4 size",
        )


def _other(header: Header, what: str) -> ModelError:
    return ModelError(f"`{header.path}` is {what}", hint="--model takes a language model")
