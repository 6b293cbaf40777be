"""A picture that comes again leaves its file alone."""

import os
from pathlib import Path

from PIL import Image

from demo.rendering.photo_input import steady_file


def test_a_picture_that_comes_again_leaves_its_file_alone(tmp_path):
    picture = Image.new("RGB", (40, 30), (200, 30, 30))
    first = Path(steady_file(picture, str(tmp_path), "webp"))
    os.utime(first, (0, 0))
    reader = first.open("rb")
    assert steady_file(picture.copy(), str(tmp_path), "webp") == str(first)
    assert os.fstat(reader.fileno()).st_nlink == 1 and Image.open(reader).size == (40, 30)  # the same file, and whole
    assert first.stat().st_mtime > 0  # young again: gradio deletes what is old
    assert [path.name for path in first.parent.iterdir()] == [first.name]
    pair = steady_file((picture, "there.png"), str(tmp_path), "jpeg")
    assert pair[0].endswith("image.jpeg") and pair[1] == "there.png"
