"""What visitors may send as a file: an upload to this server, or a photo as base64 text. No address is ever fetched."""

import base64
import binascii
from pathlib import Path
from urllib.parse import unquote

import gradio as gr
from gradio.utils import get_upload_folder
from gradio_client.utils import is_file_obj, traverse

from demo.languages.translate import translated
from demo.visit.asking import LOST_PHOTO
from valm_core.outputs import InputError

MAX_UPLOAD_BYTES = 20 * 2**20  # bytes
OWN_ADDRESS = "/gradio_api/file="  # what follows it, in an address that gradio gives to an upload, is the upload's path
NOT_UPLOADED = (
    "This server fetches no addresses and opens no files but what was uploaded to it. Upload the photo "
    "(POST /gradio_api/upload, handle_file in gradio_client), or send it as text: data:image/jpeg;base64,…"
)


class SealedBlocks(gr.Blocks):
    """Blocks that fetch nothing for a visitor, and open no file but what was uploaded.

    Gradio downloads every file value whose path is an http address, whatever the event and the component; behind a
    firewall that reaches what the visitor can't. And a path without the mark of a file value it looks at nowhere, while
    a picture's component takes it: any file of the server.
    """

    async def preprocess_data(self, block_fn, inputs, *others, **named):
        """As in gradio, once every file among the inputs was found to be an upload. Raises gr.Error."""
        wanted = len(block_fn.inputs)
        if len(inputs) < wanted:
            message = f"This call takes {wanted} values, and {len(inputs)} came. /gradio_api/info lists them."
            raise gr.Error(message, print_exception=False)
        try:
            inputs = traverse(inputs, _local, is_file_obj)
        except InputError as error:
            raise gr.Error(translated(error), print_exception=False) from error
        return await super().preprocess_data(block_fn, inputs, *others, **named)


def _local(file: dict) -> dict:
    return {**file, "path": str(upload_path(file["path"])), "url": None}


def upload_path(name: str) -> Path:
    """The file that was uploaded to this server under ``name``, its path or its address.

    Raises:
        InputError: it lies anywhere else, or was deleted since.
    """
    if name.startswith(("http://", "https://")) and OWN_ADDRESS in name:
        name = unquote(name.partition(OWN_ADDRESS)[2])
    try:
        path = Path(name).resolve()
        inside = path.is_relative_to(Path(get_upload_folder()).resolve())
        there, deleted = path.is_file(), not path.exists()
    except (OSError, ValueError):  # a name that no file can have
        raise InputError(NOT_UPLOADED) from None
    if inside and deleted:
        raise InputError(LOST_PHOTO)
    if not (inside and there):
        raise InputError(NOT_UPLOADED)
    return path


def photo_content(photo: dict | str) -> bytes:
    """What an API caller sent as a photo: an upload, as gradio's file value or its path, or a ``data:`` text.

    Raises:
        InputError: it is neither, larger than ``MAX_UPLOAD_BYTES``, or no base64.
    """
    name = photo.get("path") if isinstance(photo, dict) else photo
    if not isinstance(name, str):
        raise InputError(NOT_UPLOADED)
    if not name.startswith("data:"):
        return upload_path(name).read_bytes()
    kind, _, text = name.partition(",")
    if len(text) > MAX_UPLOAD_BYTES * 4 // 3 + 4:
        raise InputError("The photo has more than {most} MB. Shrink it.", most=MAX_UPLOAD_BYTES // 2**20)
    try:
        if kind.endswith(";base64"):
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise InputError("The photo is no base64 text. Send data:image/jpeg;base64, and then the file’s content in base64.")
