"""What was copied: an image, or files. One of the doors to Pillow.

Windows and macOS have a clipboard of their own; elsewhere Pillow asks ``wl-paste`` or ``xclip``.
"""

import io

from gemma_edge.errors import InputError, UsageError

NAME = "clipboard"


def read_clipboard() -> bytes | tuple[str, ...]:
    """The bytes of the copied image, as PNG, or the names of the copied files.

    Raises:
        InputError: there is no image in it.
        UsageError: this machine has no clipboard that can be read.
    """
    from PIL import Image, ImageGrab

    Image.init()
    try:
        found = ImageGrab.grabclipboard()
    except (NotImplementedError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"the clipboard cannot be read ({reason})", hint="save the image, and name its file"
        ) from None
    if isinstance(found, list) and found:
        return tuple(found)
    if not isinstance(found, Image.Image):
        raise InputError("there is no image in the clipboard", hint="copy one, or name a file")
    saved = io.BytesIO()
    found.save(saved, "PNG", compress_level=1)
    return saved.getvalue()
