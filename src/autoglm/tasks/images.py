"""Images that go to a model: looked at before they are sent, because a call with a wrong one is paid for in vain."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from autoglm.base.errors import TaskError
from autoglm.llm.models import Endpoint

if TYPE_CHECKING:
    from autoglm.llm.transport import Transport

MOST_BYTES: Final = 20_000_000
"""What the large providers take as one image."""
_NO_IMAGE: Final = "it is no PNG, JPEG, GIF or WebP"
_KINDS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def image_kind(content: bytes) -> str | None:
    """Return the media type of an image by its first bytes; None for what is none that models take."""
    for start, kind in _KINDS:
        if content.startswith(start):
            return kind
    return "image/webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else None


async def image_addresses(images: Sequence[str], root: Path, endpoint: Endpoint, wire: Transport | None) -> list[str]:
    """Return images as addresses that the endpoint's server takes: ``data:`` for files, web addresses as they are.

    A web address is asked what stands there, and fetched for a server that takes none; without ``wire`` (in a
    rehearsal) it is left alone. Raises TaskError ``image-invalid``.
    """
    return [await _address(each, root, endpoint, wire) for each in images]


async def _address(image: str, root: Path, endpoint: Endpoint, wire: Transport | None) -> str:
    if image.startswith("data:"):
        return _checked_data(image)
    if not image.startswith(("http://", "https://")):
        return _encoded(_read(image, root), image)
    if wire is None:
        return image
    if not endpoint.profile.image_addresses:
        return _encoded(await wire.fetch(image, MOST_BYTES, _invalid), image)
    status, kind, size = await wire.look(image, _invalid)
    if status in (404, 410):
        raise _invalid(image, f"the server says HTTP {status}")
    if status == 200 and kind and not kind.startswith("image/") and kind != "application/octet-stream":
        raise _invalid(image, f"what stands there is {kind}")
    if status == 200 and size is not None and size > MOST_BYTES:
        raise _invalid(image, f"it has {size:,} bytes, and {MOST_BYTES:,} is the most")
    return image


def _read(image: str, root: Path) -> bytes:
    try:
        with (root / image).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _invalid(image, getattr(error, "strerror", None) or "it cannot be read") from None


def check_file(image: str, root: Path) -> None:
    """Look at an image that the file names, without sending it. Raises TaskError ``image-invalid``.

    A file that is not there may yet come to be, and an address is not asked.
    """
    if image.startswith("data:"):
        _checked_data(image)
        return
    if image.startswith(("http://", "https://")):
        return
    try:
        with (root / image).open("rb") as file:
            start, size = file.read(64), os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise _invalid(image, getattr(error, "strerror", None) or "it cannot be read") from None
    if image_kind(start) is None:
        raise _invalid(image, _NO_IMAGE if start else "it is empty")
    if size > MOST_BYTES:
        raise _invalid(image, f"it has {size:,} bytes, and {MOST_BYTES:,} is the most")


def _encoded(content: bytes, image: str) -> str:
    if len(content) > MOST_BYTES:
        raise _invalid(image, f"it has more than {MOST_BYTES:,} bytes")
    kind = image_kind(content)
    if kind is None:
        raise _invalid(image, _NO_IMAGE if content else "it is empty")
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _checked_data(image: str) -> str:
    head, _, content = image.partition(",")
    try:
        start = base64.b64decode(content[:64], validate=True) if head.endswith(";base64") else b""
    except ValueError:
        start = b""
    if image_kind(start) is None:
        raise _invalid(f"{image[:40]}…", "it is no base64 of a PNG, JPEG, GIF or WebP")
    return image


def _invalid(image: str, reason: str) -> TaskError:
    return TaskError(
        f"the image {image[:200]} cannot be sent: {reason}",
        code="image-invalid",
        retryable=False,
        hint="give a PNG, JPEG, GIF or WebP of at most 20 MB: a path below the project, or a web address",
    )
