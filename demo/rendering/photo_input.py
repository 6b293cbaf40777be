"""The page's pictures: uploaded, painted, shown. (gradio writes a photo_input.pyi beside this file; git ignores it.)"""

import io
import os
import uuid
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.base import server
from gradio.components.image_editor import AcceptBlobs, EditorData, EditorValue
from gradio.processing_utils import hash_bytes
from PIL import Image
from starlette.exceptions import HTTPException

from demo.languages.translate import label

MAX_PAINTED_PIXELS = 4_000_000  # the page hands out far smaller photos to paint on
MAX_PAINTED_BYTES = 8 * 2**20
MAX_LAYERS = 4
UNUSABLE = "This painting can't be read, or is too large. Start it again."
# Of gradio's buttons on a picture: "share" would publish a visitor's photo on the Hub. To be given to each picture.
NO_SHARING = ["download", "fullscreen"]
MAX_PAINTINGS = 32  # sent and not yet asked about, of all visitors


def steady_file(picture, folder: str, kind: str):
    """A ``PIL.Image`` as the path of a file in ``folder``, named by its content; anything else as it is.

    gradio writes such a file anew whenever the same picture comes again, while a browser may be reading it: that
    browser then gets half a picture.
    """
    if isinstance(picture, tuple):  # of gr.ImageSlider
        return tuple(steady_file(one, folder, kind) for one in picture)
    if not isinstance(picture, Image.Image):
        return picture
    content = io.BytesIO()
    picture.convert("RGB").save(content, kind)
    path = Path(folder) / hash_bytes(content.getvalue()) / f"image.{kind}"
    try:
        os.utime(path)  # gradio deletes what is old
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(uuid.uuid4().hex)
        try:
            fresh.write_bytes(content.getvalue())
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)
    return str(path)


class ShownPicture(gr.Image):
    """A picture that the server drew, see ``steady_file``."""

    is_template = True  # gradio then shows it with gr.Image's own frontend

    def postprocess(self, value):
        """As gr.Image."""
        return super().postprocess(steady_file(value, self.GRADIO_CACHE, self.format))


class ShownSlider(gr.ImageSlider):
    """Two pictures that the server drew, see ``steady_file``."""

    is_template = True

    def postprocess(self, value):
        """As gr.ImageSlider."""
        return super().postprocess(steady_file(value, self.GRADIO_CACHE, self.format))


class PhotoInput(gr.Image):
    """An image upload that hands over the file as it came.

    gr.Image opens the file itself, before any callback runs, and shows its own "Error" for one that it can't read.
    """

    is_template = True

    def preprocess(self, payload) -> str | None:
        """The path of the uploaded file, unopened; None where there is none."""
        return payload.path if payload is not None else None

    def postprocess(self, value):
        """As gr.Image."""
        return super().postprocess(steady_file(value, self.GRADIO_CACHE, self.format))


def build_photo(elem_id: str | None, height: int, visible: bool = True) -> PhotoInput:
    """A box to drop, choose, take or paste a photo, so many pixels high."""
    return PhotoInput(
        label=label("Photo"),
        sources=["upload", "webcam", "clipboard"],
        height=height,
        placeholder=label("Drop a photo here\nor click to choose one"),
        buttons=["fullscreen"],
        visible=visible,
        elem_id=elem_id,
    )


class Painting(gr.ImageEditor):
    """A photo to paint on, with limits to what comes back.

    gr.ImageEditor keeps what is sent until someone asks about it, as many layers as a number in the request claims, and
    opens pictures of any size.
    """

    is_template = True

    @server
    def accept_blobs(self, data: AcceptBlobs):
        """Keep one layer of a painting until the question about it comes. Raises HTTPException beyond the limits."""
        given: Any = data.data.get("index")
        index = 0 if given in (None, "", "null") else given
        if not str(index).isdecimal() or int(index) >= MAX_LAYERS or len(data.files) != 1:
            raise HTTPException(422, UNUSABLE)
        try:
            _check_painting(data.files[0][1])
        except ValueError as error:
            raise HTTPException(422, UNUSABLE) from error
        while len(self.blob_storage) >= MAX_PAINTINGS and data.data["id"] not in self.blob_storage:
            self.blob_storage.pop(next(iter(self.blob_storage)))  # the oldest
        super().accept_blobs(data)

    def preprocess(self, payload: EditorData | None) -> EditorValue | None:
        """As gr.ImageEditor. Raises gr.Error beyond the limits, or where a file is no picture."""
        files = [payload.background, payload.composite, *payload.layers] if payload is not None else []
        try:
            if len(files) > MAX_LAYERS + 2:
                raise ValueError(f"{len(files)} pictures")
            for file in filter(None, files):
                _check_painting(file.path)
        except ValueError as error:
            raise gr.Error(UNUSABLE, print_exception=False) from error
        return super().preprocess(payload)

    def postprocess(self, value):
        """As gr.ImageEditor."""
        return super().postprocess(steady_file(value, self.GRADIO_CACHE, self.format))


def _check_painting(picture: bytes | str) -> None:
    """Raise ValueError for a file, by content or path, that is no picture or too large a one."""
    if isinstance(picture, bytes) and len(picture) > MAX_PAINTED_BYTES:
        raise ValueError(f"{len(picture)} bytes")
    try:
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as opened:
            if opened.width * opened.height <= MAX_PAINTED_PIXELS:
                opened.load()
                return
    except Exception as error:  # Pillow's decoders raise many kinds
        raise ValueError("no picture") from error
    raise ValueError(f"{opened.size} pixels")
