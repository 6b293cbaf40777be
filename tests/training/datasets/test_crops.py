"""Crops of photos: most of each photo, half of them mirrored, decided by the generator alone."""

import torch

from training.datasets.crops import MIN_AREA, Crops, cropped, draw_crops


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_crops_lie_inside_and_keep_most_of_the_photo():
    crops = draw_crops(500, seeded())
    assert (crops.corner >= 0).all() and (crops.corner + crops.size <= 1 + 1e-6).all()
    assert crops.size.prod(dim=1).min() > 0.85 * MIN_AREA
    assert 200 < crops.mirrored.sum() < 300


def test_a_crop_shows_the_part_that_it_names():
    photo = torch.linspace(0.2, 0.8, 64).repeat(1, 3, 64, 1)  # brighter to the right
    left = Crops(torch.zeros(1, 2), torch.tensor([[0.5, 1.0]]), torch.tensor([False]))
    shown = cropped(photo, left, 32, seeded())[0, 0, 16]
    turned = cropped(photo, Crops(left.corner, left.size, torch.tensor([True])), 32, seeded())[0, 0, 16]
    assert (shown.diff() > 0).all()
    torch.testing.assert_close(turned, shown.flip(0), atol=1e-4, rtol=0)
    whole = cropped(photo, Crops(torch.zeros(1, 2), torch.ones(1, 2), torch.tensor([False])), 32, seeded())[0, 0, 16]
    assert float(whole[-1] - whole[0]) > 1.8 * float(shown[-1] - shown[0])


def test_the_same_generator_gives_the_same_crops():
    photos = torch.rand(3, 3, 24, 24, generator=seeded(5))
    first, again, other = (cropped(photos, draw_crops(3, seeded(seed)), 24, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.min() >= 0 and first.max() <= 1
