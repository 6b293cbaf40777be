"""The feature cache: equal to running the encoders, used instead of them, renewed when anything changes."""

import dataclasses
import json
import os

import pytest
import torch
from PIL import Image

from training.datasets import feature_cache as features_module
from training.datasets.feature_cache import FeatureCache, mean_image_token, read_pixels
from training.datasets.questions import QuestionDataset
from training.datasets.readers.jsonl import DataError, Row, read_rows
from valm_core.model.build import reconfigure


@pytest.fixture
def photos(colored_squares):
    return [row.image for row in read_rows(colored_squares)]  # every photo twice


QUESTIONS = ["what color is the square?", "is there any red?", "what color is the square?"]


def forbid(*_):
    raise AssertionError("the encoder was called")


@torch.no_grad()
def test_image_tokens_are_the_encoders(tiny_model, photos, tmp_path):
    features = FeatureCache(tiny_model, photos, QUESTIONS, tmp_path / "cache")
    asked = [photos[4], photos[0], photos[4]]
    expected = tiny_model.image_encoder(torch.stack([read_pixels(tiny_model, photo) for photo in asked]))
    assert features.image_tokens(asked).dtype == torch.float16
    torch.testing.assert_close(features.image_tokens(asked), expected.half(), atol=2e-3, rtol=2e-3)


@torch.no_grad()
def test_text_tokens_are_the_encoders_and_padding_is_zero(tiny_model, photos, tmp_path):
    features = FeatureCache(tiny_model, photos, QUESTIONS, tmp_path / "cache")
    for asked in (QUESTIONS, QUESTIONS[1:2], QUESTIONS[::-1]):
        ids, mask = tiny_model.tokenizer(asked)
        tokens, cached_mask = features.text_tokens(asked)
        assert torch.equal(cached_mask, mask)
        expected = tiny_model.text_encoder(ids, mask).tokens
        torch.testing.assert_close(tokens[mask], expected[mask].half(), atol=2e-3, rtol=2e-3)
        assert (tokens[~mask] == 0).all()
        assert features.question_lengths(asked) == mask.sum(dim=1).tolist()


def test_the_mean_token_counts_every_photo_once(tiny_model, photos, tmp_path):
    uneven = [*photos, *photos[:1] * 5]
    features = FeatureCache(tiny_model, uneven, QUESTIONS, tmp_path / "cache")
    with torch.no_grad():
        pixels = torch.stack([read_pixels(tiny_model, photo) for photo in photos[::2]])
        expected = tiny_model.image_encoder(pixels).mean(dim=(0, 1))
    torch.testing.assert_close(features.mean_image_token(uneven), expected, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(mean_image_token(tiny_model, uneven), expected)


def test_the_mean_token_is_that_of_the_photos_asked_for(tiny_model, photos, tmp_path):
    features = FeatureCache(tiny_model, photos, QUESTIONS, tmp_path / "cache")
    expected = features.image_tokens(photos[:1])[0].float().mean(dim=0)
    torch.testing.assert_close(features.mean_image_token(photos[:1]), expected)


def test_a_second_run_calls_no_encoder(tiny_model, photos, tmp_path, monkeypatch):
    first = FeatureCache(tiny_model, photos, QUESTIONS, tmp_path / "cache")
    monkeypatch.setattr(tiny_model.image_encoder, "forward", forbid)
    monkeypatch.setattr(tiny_model.text_encoder, "forward", forbid)
    second = FeatureCache(tiny_model, photos, QUESTIONS, tmp_path / "cache")
    assert torch.equal(first.image_tokens(photos), second.image_tokens(photos))
    assert torch.equal(first.text_tokens(QUESTIONS)[0], second.text_tokens(QUESTIONS)[0])
    with pytest.raises(AssertionError, match="encoder was called"):
        FeatureCache(tiny_model, photos, [*QUESTIONS, "a new one?"], tmp_path / "cache")


def folders(cache, kind: str) -> set[str]:
    return {path.name for path in cache.iterdir() if path.name.startswith(kind)}


def shard_sizes(cache, kind: str) -> list[int]:
    """How many photos or questions lie in each shard."""
    return sorted(len(json.loads(path.read_text())) for path in cache.glob(f"{kind}*/shard-*/keys.json"))


def test_a_photo_changed_on_disk_is_encoded_again_and_no_other(tiny_model, photos, tmp_path):
    cache = tmp_path / "cache"
    before = FeatureCache(tiny_model, photos, QUESTIONS, cache).image_tokens(photos)
    stat = photos[0].stat()
    Image.new("RGB", (40, 30), "white").save(photos[0])
    os.utime(photos[0], ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as some tools leave it
    after = FeatureCache(tiny_model, photos, QUESTIONS, cache).image_tokens(photos)
    assert not torch.allclose(before[0].float(), after[0].float(), atol=1e-2)
    assert torch.equal(before[2:], after[2:])  # every photo stands there twice
    assert len(folders(cache, "image-")) == 1 and shard_sizes(cache, "image-") == [1, len(set(photos))]


def test_photos_moved_or_unpacked_again_stay_known(tiny_model, photos, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    before = FeatureCache(tiny_model, photos, [], cache).image_tokens(photos)
    monkeypatch.setattr(tiny_model.image_encoder, "forward", forbid)
    elsewhere = [tmp_path / "elsewhere" / photo.name for photo in photos]
    elsewhere[0].parent.mkdir()
    for photo, copy in zip(photos, elsewhere, strict=True):
        copy.write_bytes(photo.read_bytes())
    assert torch.equal(FeatureCache(tiny_model, elsewhere, [], cache).image_tokens(elsewhere), before)


def test_copies_of_a_photo_are_encoded_once(tiny_model, photos, tmp_path):
    copy = tmp_path / "copy.png"
    copy.write_bytes(photos[0].read_bytes())
    cache = tmp_path / "cache"
    tokens = FeatureCache(tiny_model, [photos[0], copy], [], cache).image_tokens([copy, photos[0]])
    assert torch.equal(tokens[0], tokens[1]) and shard_sizes(cache, "image-") == [1]


def test_a_part_of_the_photos_is_taken_from_the_shards_of_the_whole(tiny_model, photos, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    whole = FeatureCache(tiny_model, photos, QUESTIONS, cache)
    monkeypatch.setattr(tiny_model.image_encoder, "forward", forbid)
    monkeypatch.setattr(tiny_model.text_encoder, "forward", forbid)
    part = FeatureCache(tiny_model, photos[1:2], QUESTIONS[-1:], cache)
    assert torch.equal(part.image_tokens(photos[1:2]), whole.image_tokens(photos[1:2]))
    assert torch.equal(part.text_tokens(QUESTIONS[-1:])[0], whole.text_tokens(QUESTIONS[-1:])[0])


def test_many_small_shards_hold_what_one_large_one_does(tiny_model, photos, tmp_path, monkeypatch):
    one = FeatureCache(tiny_model, photos, QUESTIONS, tmp_path / "one")
    monkeypatch.setattr(features_module, "PHOTO_SHARD", 1)
    monkeypatch.setattr(features_module, "QUESTION_SHARD", 1)
    many = FeatureCache(tiny_model, photos, QUESTIONS, tmp_path / "many")
    assert shard_sizes(tmp_path / "many", "image-") == [1] * len(set(photos))
    backwards = [*photos[::-1], photos[0]]
    torch.testing.assert_close(many.image_tokens(backwards), one.image_tokens(backwards), atol=2e-3, rtol=2e-3)
    for found, expected in zip(many.text_tokens(QUESTIONS), one.text_tokens(QUESTIONS), strict=True):
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)


def test_one_side_alone(tiny_model, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(tiny_model.text_encoder, "forward", forbid)
    images = FeatureCache(tiny_model, photos, [], tmp_path / "cache")
    assert images.has_images and not images.has_text
    rows = [Row(photos[0], QUESTIONS[0], ("red",))]
    assert {"image_tokens", "token_ids"} <= QuestionDataset(rows, tiny_model, images).collate([0]).keys()


def test_other_weights_make_a_new_entry(tiny_model, photos, tmp_path):
    cache = tmp_path / "cache"
    FeatureCache(tiny_model, photos, QUESTIONS, cache)
    with torch.no_grad():
        next(tiny_model.image_encoder.parameters()).view(-1)[0] += 1
    FeatureCache(tiny_model, photos, QUESTIONS, cache)
    assert len(folders(cache, "image-")) == 2 and len(folders(cache, "text-")) == 1


def test_other_questions_are_added(tiny_model, photos, tmp_path):
    cache = tmp_path / "cache"
    FeatureCache(tiny_model, photos, QUESTIONS, cache)
    other = FeatureCache(tiny_model, photos, ["is there any red?", "is there any blue?"], cache)
    assert other.question_lengths(["is there any blue?"]) == [7]  # [CLS] is there any blue ? [SEP]
    assert len(folders(cache, "text-")) == 1
    new = [question for question in ("is there any red?", "is there any blue?") if question not in QUESTIONS]
    assert shard_sizes(cache, "text-") == sorted([len(new), len(set(QUESTIONS))])


def test_an_interrupted_computation_leaves_no_half_shard(tiny_model, photos, tmp_path):
    photos[2].write_text("not a photo")
    with pytest.raises(DataError, match=photos[2].name):
        FeatureCache(tiny_model, photos, QUESTIONS, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_an_interruption_loses_the_unfinished_shard_alone(tiny_model, photos, tmp_path, monkeypatch):
    monkeypatch.setattr(features_module, "PHOTO_SHARD", 2)
    good = photos[6].read_bytes()
    photos[6].write_text("not a photo")  # in the second of two shards
    with pytest.raises(DataError, match=photos[6].name):
        FeatureCache(tiny_model, photos, QUESTIONS, tmp_path / "cache")
    assert shard_sizes(tmp_path / "cache", "image-") == [2]
    photos[6].write_bytes(good)
    encode, encoded = features_module._encode_photos, []
    monkeypatch.setattr(
        features_module, "_encode_photos", lambda model, chosen: (encoded.extend(chosen), encode(model, chosen))[1]
    )
    FeatureCache(tiny_model, photos, QUESTIONS, tmp_path / "cache")
    assert encoded == photos[4::2] and shard_sizes(tmp_path / "cache", "image-") == [2, 2]


@pytest.mark.parametrize("step", ["_new_shard", "_open_shards"])
def test_a_run_that_fills_the_same_cache_meanwhile_does_no_harm(tiny_model, photos, tmp_path, monkeypatch, step):
    """The other one works either after this one has seen what is missing, or while this one opens the shards."""
    monkeypatch.setattr(features_module, "QUESTION_SHARD", 1)
    questions = [*QUESTIONS, "how many squares?"]
    original, others = getattr(features_module, step), []

    def meanwhile(*arguments):
        result = original(*arguments)
        if len(others) < 12:
            others.append(f"{'is there any blue? ' * (1 + len(others) % 2)}{len(others)}")  # of two lengths
            with monkeypatch.context() as patch:
                patch.setattr(features_module, step, original)
                FeatureCache(tiny_model, photos, [*questions, others[-1]], tmp_path / "cache")
        return result

    monkeypatch.setattr(features_module, step, meanwhile)
    features = [FeatureCache(tiny_model, photos, questions, tmp_path / "cache") for _ in range(6)]
    monkeypatch.undo()
    alone = FeatureCache(tiny_model, photos, questions, tmp_path / "alone")
    for found in features:
        torch.testing.assert_close(found.image_tokens(photos), alone.image_tokens(photos), atol=2e-3, rtol=2e-3)
        assert found.question_lengths(questions) == alone.question_lengths(questions)
        torch.testing.assert_close(
            found.text_tokens(questions)[0], alone.text_tokens(questions)[0], atol=2e-3, rtol=2e-3
        )


def test_features_of_another_reading_are_not_taken_and_a_line_says_why(
    tiny_model, photos, tmp_path, monkeypatch, capsys
):
    cache = tmp_path / "cache"
    before = FeatureCache(tiny_model, photos, QUESTIONS, cache).image_tokens(photos)
    assert "encoded anew" not in capsys.readouterr().out
    original = features_module.read_pixels
    monkeypatch.setattr(features_module, "PHOTO_PREPROCESSING", 1000)
    monkeypatch.setattr(features_module, "read_pixels", lambda *given: original(*given).flip(1, 2).square())
    after = FeatureCache(tiny_model, photos, QUESTIONS, cache).image_tokens(photos)
    (line,) = capsys.readouterr().out.splitlines()
    assert "photo preprocessing (was" in line and "is 1000). The photos are encoded anew." in line
    assert not torch.equal(before, after) and len(folders(cache, "image-")) == 2 and len(folders(cache, "text-")) == 1
    monkeypatch.undo()
    reconfigure(tiny_model, dataclasses.replace(tiny_model.config, photo_detail=8))
    FeatureCache(tiny_model, photos, QUESTIONS, cache)
    assert "photo_detail" in capsys.readouterr().out and len(folders(cache, "image-")) == 3
    monkeypatch.setattr(features_module, "QUESTION_PREPROCESSING", 1000)
    FeatureCache(tiny_model, photos, QUESTIONS, cache)
    assert "question preprocessing (was" in capsys.readouterr().out and len(folders(cache, "text-")) == 2


def test_a_cache_of_an_earlier_version_is_told_and_left_alone(tiny_model, photos, tmp_path, capsys):
    old = tmp_path / "cache" / "image-0123456789abcdef" / "shard-1"
    old.mkdir(parents=True)
    FeatureCache(tiny_model, photos, QUESTIONS, tmp_path / "cache")
    assert "an earlier version wrote them" in capsys.readouterr().out and old.is_dir()


def test_an_encoder_that_computes_otherwise_from_the_same_weights_is_another(tiny_model, photos, tmp_path):
    FeatureCache(tiny_model, photos, QUESTIONS, tmp_path / "cache")
    config = tiny_model.text_encoder.backbone.config
    try:
        config.layer_norm_eps *= 10
        FeatureCache(tiny_model, photos, QUESTIONS, tmp_path / "cache")
    finally:
        config.layer_norm_eps /= 10
    assert len(folders(tmp_path / "cache", "text-")) == 2 and len(folders(tmp_path / "cache", "image-")) == 1
