"""From files to pictures in the detail that the task and the image need."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gemma_edge.catalog import ModelFiles
from gemma_edge.cli.batch.sources import Source
from gemma_edge.documents.images import fit_tiles, iter_images, origin_of, wants_detail
from gemma_edge.documents.page_numbers import PageNumbers
from gemma_edge.documents.picture import MAX_TOKENS, Picture
from gemma_edge.engine.protocol import EngineInfo
from gemma_edge.errors import UsageError

_FEW = 4  # frames
MAX_TOGETHER = 64  # pictures in one prompt; at the usual 280 tokens they take 18,000


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """How images are read. ``detail_tokens`` is what a person asked for, ``least_tokens`` what
    the task needs; without either the image decides."""

    detail_tokens: int | None = None
    least_tokens: int | None = None
    tiles: int = 1
    pages: PageNumbers | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """The pictures of one page or image, several where it was cut; ``page`` is 0 where its file
    is one image. ``unread`` says how to see the frames that were left out, if any were."""

    pictures: tuple[Picture, ...]
    page: int
    unread: str = ""


def wanted_tokens(looking: Looking, sources: Sequence[Source]) -> int | None:
    """The budget that the plan has to pay for; ``None``: the model's usual one. Every file is
    opened, so a wrong one is told before a model is downloaded or loaded.

    Raises:
        InputError, UsageError: one of them cannot be read.
    """
    needs = False
    for source in sources:
        images = iter_images(
            source.read(), source.name, pages=looking.pages, password=looking.password
        )
        needs |= wants_detail(next(images))
    return looking.detail_tokens or looking.least_tokens or (MAX_TOKENS if needs else None)


def iter_seen(
    looking: Looking, source: Source, data: bytes, files: ModelFiles, paid_tokens: int
) -> Iterator[Seen]:
    """The pages or frames of a file, one after another. ``paid_tokens`` is the largest picture
    that the plan has room for, 0 for any.

    Raises:
        InputError, UsageError: it cannot be read.
    """
    most = _most_tokens(looking, files, paid_tokens)
    images = iter_images(
        data, source.name, pages=looking.pages, max_tokens=most * looking.tiles,
        password=looking.password,
    )  # fmt: skip
    for image in images:
        budget = looking.detail_tokens or looking.least_tokens
        if not budget:
            budget = MAX_TOKENS if wants_detail(image) else files.image_tokens
        name = source.path.name if source.path else source.name
        pictures = fit_tiles(image, name, min(budget, most), looking.tiles)
        origin = origin_of(image)
        more = f"--pages 1-{min(origin.pages, _FEW)} reads more" if origin.note else ""
        yield Seen(pictures, origin.page, more)


def smaller_budget(info: EngineInfo, pictures: Sequence[Picture]) -> int:
    """The budget to look again with, where memory was short and the plan that was loaded has room
    for smaller pictures only; 0 where these fit."""
    most = info.plan.image_tokens if info.plan else 0
    return most if any(picture.tokens > most for picture in pictures) else 0


def render_smaller(image_tokens: int) -> str:
    """Why there is less detail than planned."""
    return f"memory is short: looked at again, with at most {image_tokens:,} tokens an image"


def check_together(count: int) -> None:
    """Refuse what no prompt should hold.

    Raises:
        UsageError: too many pictures.
    """
    if count > MAX_TOGETHER:
        raise UsageError(
            f"more than {MAX_TOGETHER} images cannot be looked at together",
            hint="--each looks at one after another, --pages 1-8 takes fewer pages",
        )


def _most_tokens(looking: Looking, files: ModelFiles, paid_tokens: int) -> int:
    """The largest budget that any image of this run may get."""
    if looking.detail_tokens:
        return min(looking.detail_tokens, paid_tokens or looking.detail_tokens)
    # The bundled model has never seen more than its usual detail.
    most = files.image_tokens if files.bundled else MAX_TOKENS
    return min(most, paid_tokens or most)
