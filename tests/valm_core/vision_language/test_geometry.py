"""Where image tokens lie: a mark in one cell of a photo must light up in that cell, by what the real processors do."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image
from turned_photos import scene, stored

from valm_core.vision_language.families import FAMILIES
from valm_core.vision_language.geometry import any_resolution, centre_crop, coarse_grid, one_grid, shown_grid, tiled
from valm_core.vision_language.predictor import TransformersPredictor

SIZES = {"landscape": (150, 100), "portrait": (70, 120), "square": (96, 96), "tiny": (20, 13)}
IN_SEQUENCE = [name for name, family in FAMILIES.items() if family.reads == "sequence"]
IN_PATCHES = [name for name in FAMILIES if name not in IN_SEQUENCE]


@contextmanager
def embeddings_read_by(decoder):
    """What a decoder gets as embeddings, image tokens included."""
    got = []
    hook = decoder.register_forward_pre_hook(
        lambda module, arguments, named: got.append(named["inputs_embeds"]), with_kwargs=True
    )
    try:
        yield got
    finally:
        hook.remove()


@torch.no_grad()
def image_embeddings(reader, picture):
    """The embeddings [I, D] that stand for a photo in the model's sequence, or the patches that it reads."""
    inputs = reader.inputs([picture], "what is it?")
    if hasattr(reader.model, "vilt"):
        patches, _, (index, _) = reader.model.vilt.embeddings.visual_embed(inputs["pixel_values"], inputs["pixel_mask"])
        rows, columns = reader.places(picture).grid
        grid = torch.zeros(rows, columns, patches.shape[-1])
        kept = (index[0, :, 0] < rows) & (index[0, :, 1] < columns)
        grid[index[0, kept, 0], index[0, kept, 1]] = patches[0, 1:][kept]
        return grid.flatten(0, 1)
    if hasattr(reader.model, "vision_model"):
        return reader.model.vision_model(inputs["pixel_values"]).last_hidden_state[0]
    with embeddings_read_by(reader.model.get_decoder()) as got:
        reader.model(**inputs)
    return got[0][0][reader.image_positions(inputs["input_ids"][0])]


def with_mark(noise, places, cell):
    """A photo [height, width, 3] with the middle of one cell of the grid in red."""
    left, top, right, bottom = places.box
    rows, columns = places.grid
    height, width = noise.shape[:2]
    down = [round((top + (bottom - top) * (cell[0] + part) / rows) * height) for part in (0.2, 0.8)]
    across = [round((left + (right - left) * (cell[1] + part) / columns) * width) for part in (0.2, 0.8)]
    marked = noise.copy()
    marked[down[0] : max(down[1], down[0] + 1), across[0] : max(across[1], across[0] + 1)] = (255, 0, 0)
    return Image.fromarray(marked)


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("name", [*IN_SEQUENCE, *IN_PATCHES])
def test_a_mark_lights_up_in_its_cell(tiny_reader, name, shape):
    reader = tiny_reader(name)
    noise = np.random.default_rng(1).integers(100, 156, (*SIZES[shape][::-1], 3), dtype=np.uint8)
    places = reader.places(Image.fromarray(noise))
    before = image_embeddings(reader, Image.fromarray(noise))
    assert len(places.boxes) == len(before)
    projection = places.projection()  # [I, N]
    rows, columns = places.grid
    for cell in {(0, 0), (rows - 1, columns - 1), (rows // 2, columns // 3), (0, columns - 1)}:
        change = (image_embeddings(reader, with_mark(noise, places, cell)) - before).norm(dim=-1).numpy()
        heat = change @ projection / np.maximum(projection.sum(axis=0), 1e-9)
        assert np.unravel_index(heat.argmax(), places.grid) == cell, f"{name} {shape} {places.grid}"


@pytest.mark.parametrize("name", ["qwen2_vl", "llava_next"])
def test_a_photo_that_a_camera_turned_lies_as_it_is_seen(tiny_reader, name):
    """Its file says how it was held: tokens and cells are those of the upright photo."""
    predictor = TransformersPredictor(tiny_reader(name), {})
    upright = scene(150, 100)
    expected = predictor.encode(upright)
    for orientation in (3, 6):
        image = predictor.encode(stored(upright, orientation, "PNG"))
        assert image.grid == expected.grid and image.picture.size == upright.size
        np.testing.assert_allclose(image.tokens, expected.tokens, atol=0.02)
        np.testing.assert_array_equal(
            predictor.reader.places(image.picture).boxes, predictor.reader.places(upright).boxes
        )


def test_a_token_is_shared_among_the_cells_that_it_covers():
    places = tiled(1, 2, side=2, thumbnail=True)  # two tiles side by side: 2 x 4 cells, then a thumbnail of 2 x 2
    assert places.grid == (2, 4) and places.boxes.shape == (12, 4)
    projection = places.projection()
    second_tile_first_token = projection[4].reshape(2, 4)
    assert second_tile_first_token[0, 2] == 1 and second_tile_first_token.sum() == 1
    thumbnail_upper_right = projection[9].reshape(2, 4)
    assert thumbnail_upper_right[0].tolist() == [0, 0, 0.5, 0.5]


def test_what_was_cropped_or_padded_is_no_place_of_the_photo():
    assert centre_crop(200, 100, 32, (32, 32)) == (0.25, 0.0, 0.75, 1.0)
    places = any_resolution((150, 100), (64, 96), tile=32, patch=8)
    assert np.isnan(places.boxes).any(axis=1).sum() == places.grid[0]  # one token ends each row
    padded = any_resolution((100, 50), (64, 64), tile=32, patch=8)
    assert padded.grid == (4, 8)
    np.testing.assert_allclose(padded.boxes[16], [0, 0, 1 / 8, 1 / 4])


def test_class_tokens_have_no_place_and_large_grids_are_drawn_coarser():
    assert one_grid(2, 2, before=1).projection().sum(axis=1).tolist() == [0, 1, 1, 1, 1]
    assert shown_grid(48, 96) == (16, 32) and shown_grid(3, 5) == (3, 5)
    assert coarse_grid(150, 100) == (6, 8) and coarse_grid(5000, 10)[1] == 16
