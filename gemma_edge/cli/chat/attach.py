"""What goes with a message: images, and files whole, by command, by a path in it, by paste."""

from pathlib import Path
from typing import TYPE_CHECKING

from gemma_edge.cli.chat.paths import Named, as_path, find_files, name_files
from gemma_edge.documents.clipboard import NAME, read_clipboard
from gemma_edge.documents.files import shown
from gemma_edge.documents.images import fit_picture, read_image
from gemma_edge.errors import UsageError

NONE = "-"

if TYPE_CHECKING:
    from gemma_edge.cli.chat.talk import Talk


def image(talk: "Talk", value: str) -> None:
    """An image for the next message; ``-`` takes back what waits for it."""
    if value == NONE:
        talk.pictures = ()
        talk.output.note("no image goes with the next message")
        return
    _attach(talk, _path(talk, value, "/image FILE"), as_image=True)


def file(talk: "Talk", value: str) -> None:
    """A file for the next message, whole; ``-`` takes back what waits for it."""
    if value == NONE:
        talk.files = ()
        talk.output.note("no file goes with the next message")
        return
    _attach(talk, _path(talk, value, "/file FILE"), as_image=False)


def paste(talk: "Talk", _value: str) -> None:
    """What is in the clipboard: an image, or files."""
    found = read_clipboard()
    if isinstance(found, bytes):
        opener = talk.opener(talk.session, talk.output)
        opener.check_sight()
        picture = fit_picture(read_image(found, NAME), NAME, talk.image_tokens)
        talk.pictures += (opener.told(picture),)
        return
    for name in found:
        path = Path(name)
        _attach(talk, path, as_image=Named(path, 0, 0).is_image)


_TYPED = 5  # lines; a longer message was pasted, and what it names is not meant
_SEARCHED = 50


def attach_named(talk: "Talk", text: str) -> str:
    """The message with names in the place of paths; what the paths lead to goes with it.

    Raises:
        InputError: it cannot be read.
        ProjectorError: it is to be looked at, and the model sees nothing.
    """
    lines = text.split("\n")
    found = find_files("\n".join(lines[:_SEARCHED]), talk.context.home)
    if len(lines) > _TYPED:
        if found:
            talk.output.note(
                f"{shown(found[0].path)} in so long a text is not attached; /file does"
            )
        return text
    for each in found:
        _attach(talk, each.path, as_image=each.is_image)
    return name_files(text, found)


def _attach(talk: "Talk", path: Path, *, as_image: bool) -> None:
    opener = talk.opener(talk.session, talk.output)
    if as_image:
        talk.pictures += (opener.image(path),)
    else:
        files, pictures = opener.file(path)
        talk.files, talk.pictures = talk.files + files, talk.pictures + pictures


def _path(talk: "Talk", value: str, usage: str) -> Path:
    if not value.strip("'\" "):
        raise UsageError("no file was named", hint=usage)
    return as_path(value, talk.context.home)
