"""The benchmark: what is timed, in turn; medians, ratios and targets; the peers' steps are those of their libraries."""

import json

import pytest
import torch
from patience import PATIENCE
from toy_data import ANSWERS
from transformers import BlipConfig, BlipForQuestionAnswering, ViltConfig, ViltForQuestionAnswering

from training.benchmark import compare_models, models
from training.benchmark.report import draw_report, format_report, summary
from training.benchmark.smolvlm import LANGUAGE_SIZE
from valm_core.checkpoints.storage import save_checkpoint
from valm_core.model.build import build_model

CPU = torch.device("cpu")
PHOTO = (compare_models.EXAMPLES / "cat.jpg").read_bytes()
TINY = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


class TinyVilt(models.Vilt):
    @staticmethod
    def build():
        return ViltForQuestionAnswering(ViltConfig(**TINY, num_labels=5))


class TinyBlip(models.Blip):
    @staticmethod
    def build():
        text = TINY | {"encoder_hidden_size": 24, "projection_dim": 24}
        return BlipForQuestionAnswering(BlipConfig(text_config=text, vision_config=TINY, projection_dim=24))


@pytest.fixture
def checkpoint(tiny_config, tmp_path):
    torch.manual_seed(0)
    save_checkpoint(build_model(tiny_config, ANSWERS), tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def test_every_row_is_measured_as_often_as_asked(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(models.PEERS, "vilt", TinyVilt)
    folders = {"valm": checkpoint, "vilt": models.build_peer("vilt", tmp_path)}
    measured = compare_models.measure(folders, CPU, repeats=2, limit=1, batches=[1, 2])
    assert [len(times) for times in measured["valm"]["milliseconds"].values()] == [2, 2, 2]
    assert measured["vilt"]["milliseconds"]["explained"] == []  # it has no explanation
    for model in measured.values():
        assert all(len(rates) == 2 for size in model["batches"].values() for rates in size.values())
        model |= {"first_answer_seconds": [1.0], "peak_megabytes": [100.0]}
    assert compare_models.alone("valm", checkpoint, CPU)["peak_megabytes"] > 50
    setting = {"device": "cpu", "precision": "float32", "threads": 1, "load_at_end": 0.5, "torch": "2"}
    report = setting | {"repeats": 2, "questions": 1, "models": measured, "command": "python -m training.benchmark"}
    text = format_report(json.loads(json.dumps(report)))
    assert "| cold question: photo file to answer, ms |" in text and "with its default map, ms | " in text
    assert "| peak memory | at most 0.6 | 1 | missed |" in text
    draw_report(report, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_medians_and_the_best_batch_as_worked_by_hand():
    sizes = {"1": {"with_photos": [1, 2, 3], "photos_encoded": [9, 9, 9]}}
    sizes["8"] = {"with_photos": [5, 4, 6], "photos_encoded": [1, 1, 1]}
    milliseconds = {"cold": [10.0, 12.0, 14.0, 40.0, 11.0], "next": [2.0], "explained": []}
    alone = {"first_answer_seconds": [3.0], "peak_megabytes": [7.0]}
    found = summary({"milliseconds": milliseconds, "batches": sizes} | alone)
    assert found["cold"] == (12.0, 1.5)  # quartiles 11 and 14
    assert found["next"] == (2.0, 0.0) and found["explained"] is None
    assert found["rate"] == (5, 0.5) and found["encoded_rate"] == (9, 0.0)


def test_blip_answers_by_the_steps_of_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(models.PEERS, "blip", TinyBlip)
    peer = models.load_contender("blip", models.build_peer("blip", tmp_path), CPU)
    pixels = peer.read(PHOTO)
    length = models.ANSWER_TOKENS
    with torch.no_grad():
        expected = peer.model.generate(
            **peer.tokens(["what animal?"]), pixel_values=pixels[None], min_new_tokens=length, max_new_tokens=length
        )
        assert peer.ask(peer.see([pixels]), ["what animal?"]) == expected.tolist()


def test_smolvlm_writes_what_its_library_writes(tmp_path, monkeypatch):
    text = LANGUAGE_SIZE | {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    monkeypatch.setattr(models.SmolVlm, "TEXT", text | {"head_dim": 12, "intermediate_size": 32, "vocab_size": 31000})
    monkeypatch.setattr(models.SmolVlm, "IMAGE", TINY | {"image_size": 32, "patch_size": 4})
    monkeypatch.setattr(models.SmolVlm, "LONG_SIDE", 64)
    peer = models.load_contender("smolvlm", models.build_peer("smolvlm", tmp_path), CPU)
    pixels = peer.read(PHOTO)
    assert pixels.shape[1:] == (3, 32, 32) and len(pixels) in (3, 5) and pixels.abs().max() <= 1
    picture, config = peer.model.config.image_token_id, peer.model.config
    config.text_config.eos_token_id = peer.model.generation_config.eos_token_id = None
    with torch.no_grad():
        seen = peer.see([pixels])
        assert seen.shape == (1, 4 * len(pixels), 24)  # 8 x 8 patches of a tile, 16 in one
        asked = peer.tokens(["what animal?"])["input_ids"]
        before = torch.cat([torch.full((1, seen.shape[1]), picture), torch.ones(1, peer.TEMPLATE_TOKENS).long()], 1)
        expected = peer.model.generate(
            input_ids=torch.cat([before, asked], dim=1),
            attention_mask=torch.ones(1, before.shape[1] + asked.shape[1]).long(),
            pixel_values=pixels[None],
            max_new_tokens=models.ANSWER_TOKENS,
            do_sample=False,
        )
        assert peer.ask(seen, ["what animal?"])[0] == expected[0, -models.ANSWER_TOKENS :].tolist()


def test_a_slow_contender_is_asked_once(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(models.PEERS, "vilt", TinyVilt)
    monkeypatch.setattr(TinyVilt, "slow", True)
    folders = {"valm": checkpoint, "vilt": models.build_peer("vilt", tmp_path)}
    measured = compare_models.measure(folders, CPU, repeats=2, limit=2, batches=[2])
    once = measured["vilt"]
    assert [len(once["milliseconds"][kind]) for kind in ("cold", "next")] == [1, 1] and list(once["batches"]) == [1]
    assert len(measured["valm"]["milliseconds"]["cold"]) == 2 and list(measured["valm"]["batches"]) == [2]


def test_vilt_sees_photos_of_its_own_size_padded_to_a_batch(tmp_path, monkeypatch):
    monkeypatch.setitem(models.PEERS, "vilt", TinyVilt)
    peer = models.load_contender("vilt", models.build_peer("vilt", tmp_path), CPU)
    wide, tall = torch.rand(3, 384, 512), torch.rand(3, 512, 384)
    seen = peer.see([wide, tall])
    assert seen["pixel_values"].shape == (2, 3, 512, 512) and seen["pixel_mask"].sum() == 2 * 384 * 512
    with torch.no_grad():
        assert len(peer.ask(seen, ["what animal?", "red?"])) == 2
    height, width = peer.read(PHOTO).shape[1:]
    assert height % 32 == width % 32 == 0 and max(height, width) <= 640


def test_wrong_options_are_named(capsys):
    for arguments, message in (
        (["--models", "valm,clip"], "'clip'; allowed: valm, vilt"),
        (["--batches", "1,many"], "'1,many'"),
        (["--repeats", "0"], "at least 1"),
    ):
        with pytest.raises(SystemExit):
            compare_models.main(["--checkpoint", "x", *arguments])
        assert message in capsys.readouterr().err


def test_a_contender_that_fails_alone_is_named(forks, tmp_path, monkeypatch):
    def fork(command: list[str], env: dict[str, str], **_):
        return forks.run(command[1:], env=env, timeout=PATIENCE)

    monkeypatch.setattr(compare_models.subprocess, "run", fork)
    with pytest.raises(RuntimeError, match="valm failed"):
        compare_models.measure_alone("valm", tmp_path / "nothing", "cpu", threads=1)
