"""The benchmark: what is timed, in turn; medians, ratios and targets; the peers' steps are those of their libraries."""

import json

import pytest
import torch
from patience import PATIENCE
from toy_data import ANSWERS
from transformers import BlipConfig, BlipForQuestionAnswering, ViltConfig, ViltForQuestionAnswering

from training.benchmark import compare_models, contenders, models, writers
from training.benchmark.report import draw_report, format_report, summary
from training.benchmark.sizes import (
    MOONDREAM_IMAGE,
    MOONDREAM_LANGUAGE,
    QWEN2_VL_IMAGE,
    QWEN2_VL_LANGUAGE,
    SMOLVLM_LANGUAGE,
)
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
    monkeypatch.setitem(contenders.PEERS, "vilt", TinyVilt)
    folders = {"valm": checkpoint, "vilt": contenders.build_peer("vilt", tmp_path)}
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
    monkeypatch.setitem(contenders.PEERS, "blip", TinyBlip)
    peer = contenders.load_contender("blip", contenders.build_peer("blip", tmp_path), CPU)
    pixels = peer.read(PHOTO)
    length = models.ANSWER_TOKENS
    with torch.no_grad():
        expected = peer.model.generate(
            **peer.tokens(["what animal?"]), pixel_values=pixels[None], min_new_tokens=length, max_new_tokens=length
        )
        assert peer.ask(peer.see([pixels]), ["what animal?"]) == expected.tolist()


def test_smolvlm_writes_what_its_library_writes(tmp_path, monkeypatch):
    text = SMOLVLM_LANGUAGE | {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    monkeypatch.setattr(writers.SmolVlm, "TEXT", text | {"head_dim": 12, "intermediate_size": 32, "vocab_size": 31000})
    monkeypatch.setattr(writers.SmolVlm, "IMAGE", TINY | {"image_size": 32, "patch_size": 4})
    monkeypatch.setattr(writers.SmolVlm, "LONG_SIDE", 64)
    peer = contenders.load_contender("smolvlm", contenders.build_peer("smolvlm", tmp_path), CPU)
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


def test_qwen2_vl_writes_what_its_library_writes(tmp_path, monkeypatch):
    text = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
    text |= {"intermediate_size": 48, "vocab_size": 152000, "rope_parameters": rope}
    monkeypatch.setattr(writers.Qwen2Vl, "TEXT", QWEN2_VL_LANGUAGE | text)
    image = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2}
    monkeypatch.setattr(writers.Qwen2Vl, "IMAGE", QWEN2_VL_IMAGE | image)
    peer = contenders.load_contender("qwen2_vl", contenders.build_peer("qwen2_vl", tmp_path), CPU)
    patches, grid = peer.read(PHOTO)
    assert patches.shape == (int(grid.prod()), 3 * 2 * 14 * 14) and grid.shape == (1, 3)
    config = peer.model.config
    config.text_config.eos_token_id = peer.model.generation_config.eos_token_id = None
    with torch.no_grad():
        seen = peer.see([(patches, grid)])
        asked = peer.tokens(["what animal?"])["input_ids"]
        after = torch.cat([torch.ones(1, peer.TEMPLATE_TOKENS).long(), asked], dim=1)
        kinds = torch.cat([torch.ones(seen[0].shape[:2]).long(), torch.zeros_like(after)], dim=1)
        expected = peer.model.generate(
            input_ids=torch.cat([torch.full(seen[0].shape[:2], config.image_token_id), after], dim=1),
            attention_mask=torch.ones_like(kinds),
            mm_token_type_ids=kinds,
            pixel_values=patches,
            image_grid_thw=grid,
            max_new_tokens=models.ANSWER_TOKENS,
            do_sample=False,
        )
        assert peer.ask(seen, ["what animal?"])[0] == expected[0, -models.ANSWER_TOKENS :].tolist()


def test_moondream_sees_crops_and_writes_as_phi_does(tmp_path, monkeypatch):
    text = TINY | {"num_hidden_layers": 2, "vocab_size": 31000}
    monkeypatch.setattr(writers.Moondream, "TEXT", MOONDREAM_LANGUAGE | text)
    monkeypatch.setattr(writers.Moondream, "IMAGE", MOONDREAM_IMAGE | TINY | {"image_size": 378, "patch_size": 126})
    peer = contenders.load_contender("moondream", contenders.build_peer("moondream", tmp_path), CPU)
    assert peer.tiling(480, 640) == (2, 4) and peer.tiling(300, 300) == (1, 1) and peer.tiling(9000, 400) == (12, 1)
    pixels = peer.read(PHOTO)
    assert pixels.shape[1:] == (3, 378, 378) and 2 <= len(pixels) <= 13 and pixels.abs().max() <= 1
    language = peer.model.text
    language.config.eos_token_id = language.generation_config.eos_token_id = None
    with torch.no_grad():
        seen = peer.see([pixels, pixels.flip(-1)])
        assert seen.shape == (2, 9, 24) and not torch.equal(seen[0], seen[1])
        asked = peer.tokens(["what animal?"])["input_ids"]
        after = torch.cat([torch.ones(1, peer.TEMPLATE_TOKENS).long(), asked], dim=1)
        read = torch.cat([seen[:1], language.get_input_embeddings()(after)], dim=1)
        written = language.generate(inputs_embeds=read, max_new_tokens=models.ANSWER_TOKENS, do_sample=False)
        assert peer.ask(seen[:1], ["what animal?"]) == written.tolist()


@pytest.mark.parametrize(
    ("name", "millions"), [("smolvlm", (250, 262)), ("qwen2_vl", (2150, 2250)), ("moondream", (1800, 1900))]
)
def test_peers_that_write_have_their_published_sizes(name, millions):
    """256 M, 2.2 B and 1.86 B parameters; without memory for them."""
    with torch.device("meta"):
        model = contenders.PEERS[name].build()
    least, most = millions
    assert least < sum(parameter.numel() for parameter in model.parameters()) / 1e6 < most


def test_a_slow_contender_is_asked_once(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setitem(contenders.PEERS, "vilt", TinyVilt)
    monkeypatch.setattr(TinyVilt, "slow", True)
    folders = {"valm": checkpoint, "vilt": contenders.build_peer("vilt", tmp_path)}
    measured = compare_models.measure(folders, CPU, repeats=2, limit=2, batches=[2])
    once = measured["vilt"]
    assert [len(once["milliseconds"][kind]) for kind in ("cold", "next")] == [1, 1] and list(once["batches"]) == [1]
    assert len(measured["valm"]["milliseconds"]["cold"]) == 2 and list(measured["valm"]["batches"]) == [2]


def test_vilt_sees_photos_of_its_own_size_padded_to_a_batch(tmp_path, monkeypatch):
    monkeypatch.setitem(contenders.PEERS, "vilt", TinyVilt)
    peer = contenders.load_contender("vilt", contenders.build_peer("vilt", tmp_path), CPU)
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
