"""Which model a folder is, whether it fits in memory, what is asked of it, and what is refused in one line."""

import json
import re
from pathlib import Path

import pytest
import tiny_vision_language
import torch
from PIL import Image

from valm_core.loading import is_open_model, load_predictor
from valm_core.predictor import VqaPredictor
from valm_core.vision_language import families, loading, memory
from valm_core.vision_language.loading import load_reader
from valm_core.vision_language.memory import choose_precision, parameters_in
from valm_core.vision_language.predictor import TransformersPredictor
from valm_core.vision_language.sequence import SequenceReader

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "your_model.md"
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_a_folder_is_loaded_as_what_its_config_says(tiny_folder):
    predictor = load_predictor(tiny_folder("smolvlm"), "cpu")
    assert isinstance(predictor, TransformersPredictor)
    facts = predictor.facts
    assert facts["family"] == "SmolVLM" and facts["checkpoint"] == "smolvlm" and facts["precision"] == "float32"
    assert "{question} Answer with one word or a short phrase." in facts["prompt"]
    assert not is_open_model(ROOT / "assets" / "checkpoints" / "everyday") and not is_open_model("no/such/folder/here")
    assert isinstance(load_predictor(ROOT / "assets" / "checkpoints" / "everyday", "cpu"), VqaPredictor)


def test_the_prompt_can_be_changed_and_must_have_its_places(tiny_folder):
    reader = load_reader(tiny_folder("smolvlm"), CPU, prompt="Look: {image} Tell me, {question}")
    assert reader.asked == "USER: Look:<image>Tell me, {question} ASSISTANT:"
    with pytest.raises(ValueError, match=r"needs \{image\} and \{question\}"):
        load_reader(tiny_folder("smolvlm"), CPU, prompt="What is it?")


def test_parameters_are_counted_without_loading(tiny_folder, tiny_reader):
    counted = sum(parameter.numel() for parameter in tiny_reader("llava").model.parameters())
    assert parameters_in(tiny_folder("llava")) == counted


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 1\n", b"short"])
def test_weights_that_are_pointers_or_cut_are_refused_with_the_remedy(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged .* git-lfs"):
        parameters_in(tmp_path)


def test_a_config_nested_without_end_is_no_open_model(tmp_path):
    (tmp_path / "config.json").write_text("[" * 100_000, encoding="utf-8")
    assert not is_open_model(tmp_path)


def test_what_does_not_fit_is_refused_in_one_line_with_what_would():
    dtype, four_bit, line = choose_precision("big", 8_000_000_000, GPU, 24_000_000_000)
    assert dtype == torch.bfloat16 and not four_bit and "8.00 billion parameters in bfloat16 take 18.4 GB" in line
    assert choose_precision("small", 256_000_000, CPU, 2**31)[0] == torch.float32
    with pytest.raises(ValueError, match=r"models of 4B, 3B, 2B would fit; `pip install bitsandbytes`") as refused:
        choose_precision("big", 8_000_000_000, GPU, 10_000_000_000, four_bit_there=False)
    assert "\n" not in str(refused.value)
    assert choose_precision("big", 8_000_000_000, GPU, 10_000_000_000, four_bit_there=True)[1]
    with pytest.raises(ValueError, match="no such model would fit"):
        choose_precision("big", 8_000_000_000, CPU, 1000)


def test_weights_that_are_no_safetensors_and_other_models_are_refused(tmp_path, tiny_text_folder):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava"}), encoding="utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(FileNotFoundError, match=r"no \*\.safetensors"):
        load_predictor(tmp_path, "cpu")
    with pytest.raises(ValueError, match="no model that answers questions about photos"):
        load_predictor(tiny_text_folder, "cpu")


def test_code_that_comes_with_a_model_is_not_run(tmp_path, tiny_folder):
    for file in tiny_folder("llava").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "mine.Config", "AutoModelForImageTextToText": "mine.Model"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "mine.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')", encoding="utf-8")
    with pytest.raises(ValueError):
        load_predictor(tmp_path, "cpu")
    assert not (tmp_path / "was_run").exists()


def test_the_page_about_families_has_their_table():
    page = PAGE.read_text(encoding="utf-8")
    assert families.with_table(page) == page and page.count("| no |") == len(families.FAMILIES)


def test_the_pages_family_is_added_by_its_own_lines(tmp_path, monkeypatch):
    """At most forty; what they add is then answered and explained as any family is, and is the one that VALM has."""
    entry, checkpoint = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"))
    assert len((entry + checkpoint).splitlines()) <= 40
    monkeypatch.setattr(families, "FAMILIES", {})
    exec(compile(entry, str(PAGE), "exec"), {})
    monkeypatch.setattr(loading, "FAMILIES", families.FAMILIES)
    ((kind, added),) = families.FAMILIES.items()
    helpers = vars(tiny_vision_language) | {"TINY": {}}
    exec(compile(checkpoint, str(PAGE), "exec"), helpers)
    helpers["TINY"][kind](tmp_path)
    predictor = load_predictor(tmp_path, "cpu")
    image = predictor.encode(Image.new("RGB", (150, 100), "red"))
    assert predictor.facts["family"] == added.title and image.grid == (4, 6)
    assert predictor.explain(image, "what color is it?", answer="red").grid == (4, 6)
    for shown, file in ((entry, families.__file__), (checkpoint, tiny_vision_language.__file__)):
        (function,) = re.findall(r"(?ms)^def .*?(?=\n\n\n)", shown)
        assert function in Path(file).read_text(encoding="utf-8")


def test_trying_a_model_prints_a_table(tiny_folder, capsys, monkeypatch):
    from training import try_model

    monkeypatch.setattr(try_model, "ASKED", (("cat.jpg", "What animal is this?"),))
    with pytest.raises(SystemExit) as ended:
        try_model.main([str(tiny_folder("vilt")), "--device", "cpu"])
    printed = capsys.readouterr().out
    assert ended.value.code == 0 and "| cat.jpg | What animal is this? |" in printed and "| ok |" in printed
    monkeypatch.setattr(SequenceReader, "places", lambda *_: None)  # a checkpoint that isn't as its family's others
    with pytest.raises(SystemExit) as ended:
        try_model.main([str(tiny_folder("smolvlm")), "--device", "cpu"])
    printed = capsys.readouterr().out
    assert ended.value.code == 1 and "the image tokens don't lie where the family's do |" in printed
    assert printed.count("Choose occlusion. |") == 3 and "| occlusion | |" in printed
    with pytest.raises(SystemExit) as refused:
        try_model.main([str(ROOT / "assets" / "checkpoints" / "everyday"), "--device", "cpu"])
    assert refused.value.code == 2


def test_a_containers_limit_counts_and_an_unknown_one_refuses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CONTAINER", tmp_path)
    assert memory.free_memory(CPU) == memory.UNKNOWN
    _, _, line = choose_precision("big", 8_000_000_000, CPU, memory.UNKNOWN)
    assert line.endswith("take 36.8 GB; how much is free isn't known on the CPU.")
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n", encoding="utf-8")
    assert memory.free_memory(CPU) == 8_000_000 * 1024
    (tmp_path / "memory.max").write_text("2000000000\n", encoding="utf-8")
    (tmp_path / "memory.current").write_text("500000000\n", encoding="utf-8")
    assert memory.free_memory(CPU) == 1_500_000_000
    (tmp_path / "memory.max").write_text("max\n", encoding="utf-8")
    assert memory.free_memory(CPU) == 8_000_000 * 1024


def test_the_memory_is_said_before_the_model_is_loaded_and_what_is_too_large_never_is(tiny_folder, monkeypatch, caplog):
    def never(*_):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(loading, "_sequence_model", never)
    monkeypatch.setattr(loading, "free_memory", lambda device: 1000)
    with pytest.raises(ValueError, match="no such model would fit"):
        load_reader(tiny_folder("smolvlm"), CPU)
    monkeypatch.setattr(loading, "free_memory", lambda device: 10**9)
    with caplog.at_level("INFO", "valm"), pytest.raises(AssertionError, match="was loaded"):
        load_reader(tiny_folder("smolvlm"), CPU)
    assert "billion parameters in float32 take" in caplog.text


def test_what_is_too_large_is_refused_before_its_weights_are_fetched(tiny_folder, hub, monkeypatch):
    files = {path.name: path.read_bytes() for path in tiny_folder("smolvlm").iterdir()}
    hub.repositories["someone/large"] = files
    monkeypatch.setattr(loading, "free_memory", lambda device: 1000)
    with pytest.raises(ValueError, match=r"^someone/large: .* no such model would fit"):
        load_predictor("someone/large", "cpu")
    assert hub.fetched == ["config.json"]
    monkeypatch.setattr(loading, "free_memory", lambda device: 10**9)
    assert load_predictor("someone/large", "cpu").facts["model_type"] == "smolvlm"
    assert "model.safetensors" in hub.fetched


def test_four_bits_are_asked_of_bitsandbytes_on_a_gpu(tiny_folder, monkeypatch):
    import transformers

    asked = {}

    class Loaded:
        def eval(self):
            return self

        def requires_grad_(self, wanted):
            return self

    def from_pretrained(folder, **settings):
        asked.update(settings)
        return Loaded()

    monkeypatch.setattr(transformers, "BitsAndBytesConfig", lambda **settings: settings)
    monkeypatch.setattr(transformers.AutoModelForImageTextToText, "from_pretrained", from_pretrained)
    loading._sequence_model(tiny_folder("smolvlm"), GPU, torch.bfloat16, four_bit=True)
    assert asked["quantization_config"] == {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.bfloat16}
    assert asked["device_map"] == {"": GPU} and asked["trust_remote_code"] is False


def test_models_of_several_files_are_told_apart_by_what_is_in_them(tmp_path):
    for name, byte in (("a", b"1"), ("b", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model-00001-of-00002.safetensors").write_bytes(b"0" * 100 + byte)
    first, second = (loading._ends_of(tmp_path / name / "model-00001-of-00002.safetensors") for name in "ab")
    assert first[:2] == second[:2] and first[2] != second[2]
