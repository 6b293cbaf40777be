"""Tiny open vision-language models with random weights, saved as real checkpoints are: config, weights, processor.

Every family's own config, model, processor and image processor classes, at widths of 16 to 32, with one byte-level
tokenizer that knows the family's special tokens. ``build_tiny(name, folder)`` writes what ``load_predictor`` reads.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AddedToken, PreTrainedTokenizerFast

SENTENCES = (
    "what color is the square? answer with one word or a short phrase. the cat sits on the red table. yes no dogs",
    "question: how many people are there? short answer: one man. is it day or night? user assistant describe it",
)
TEXT = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
TEXT |= {"num_hidden_layers": 2, "max_position_embeddings": 2048}
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
CHAT = (
    "{% for message in messages %}USER: {% for part in message['content'] %}{% if part['type'] == 'image' %}IMAGE"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)
SIDE = {"height": 32, "width": 32}
PINPOINTS = [[32, 64], [64, 32], [64, 64], [96, 32], [32, 96]]


def tiny_tokenizer(named: dict[str, str], special: tuple[str, ...] = ()) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer, any text in and the same text out, with the family's own special tokens.

    Args:
        named: attribute names of special tokens, as processors ask for them, and the tokens.
        special: further special tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=384, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<pad>", "<s>", "</s>"]
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens=dict(named),
    )
    fast.add_tokens([AddedToken(token, normalized=False, special=True) for token in special], special_tokens=True)
    return fast


def _save(folder: Path, model_class: str, config: Any, processor: Any) -> None:
    tokenizer = processor.tokenizer
    torch.manual_seed(7)
    model = getattr(transformers, model_class)(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1 and not parameter.any():  # Gemma 3 starts its projection at zero
            torch.nn.init.normal_(parameter, std=0.1)
    if hasattr(model, "generation_config") and model.generation_config is not None:
        model.generation_config.eos_token_id = tokenizer.eos_token_id
        model.generation_config.pad_token_id = tokenizer.pad_token_id
        model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _ids(tokenizer: Any) -> dict[str, int]:
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _idefics3(folder: Path, name: str = "Idefics3") -> None:
    tags = tuple(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))
    special = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *tags)
    tokenizer = tiny_tokenizer({}, special)
    images = getattr(transformers, f"{name}ImageProcessor")(
        size={"longest_edge": 96}, max_image_size={"longest_edge": 32}
    )
    processor = transformers.Idefics3Processor(
        images, tokenizer, image_seq_len=4, chat_template=CHAT.replace("IMAGE", "<image>")
    )
    config = getattr(transformers, f"{name}Config")(
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        scale_factor=2,
        vision_config=SMALL | {"image_size": 32, "patch_size": 8},
        text_config={"model_type": "llama"} | TEXT | _ids(tokenizer),
    )
    _save(folder, f"{name}ForConditionalGeneration", config, processor)


def _smolvlm(folder: Path) -> None:
    _idefics3(folder, "SmolVLM")
    for name in (
        "processor_config.json",
        "tokenizer_config.json",
    ):  # its own processor class needs a package for videos
        path = folder / name
        path.write_text(path.read_text(encoding="utf-8").replace("Idefics3Processor", "SmolVLMProcessor"), "utf-8")


def _qwen(folder: Path, name: str) -> None:
    named = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
    tokenizer = tiny_tokenizer(named, ("<|vision_start|>", "<|vision_end|>", "<|im_start|>", "<|im_end|>"))
    third = name.startswith("Qwen3VL")
    patch = 8
    images = transformers.Qwen2VLImageProcessor(
        patch_size=patch, merge_size=2, size={"shortest_edge": 32 * 32, "longest_edge": 96 * 96}
    )
    module = "qwen3_vl.video_processing_qwen3_vl" if third else "qwen2_vl.video_processing_qwen2_vl"
    video_class = "Qwen3VLVideoProcessor" if third else "Qwen2VLVideoProcessor"
    videos = getattr(importlib.import_module(f"transformers.models.{module}"), video_class)(patch_size=patch)
    processor_class = {
        "Qwen2VL": "Qwen2VLProcessor",
        "Qwen2_5_VL": "Qwen2_5_VLProcessor",
        "Qwen3VL": "Qwen3VLProcessor",
        "Qwen3VLMoe": "Qwen3VLProcessor",
    }
    chat = CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    processor = getattr(transformers, processor_class[name])(images, tokenizer, videos, chat_template=chat)
    vision = {"patch_size": patch, "spatial_merge_size": 2, "temporal_patch_size": 2, "depth": 1, "num_heads": 2}
    if name == "Qwen2VL":
        vision |= {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2}
    elif name == "Qwen2_5_VL":
        vision |= {"hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 32, "window_size": 32}
        vision |= {"fullatt_block_indexes": [0], "in_channels": 3}
    else:
        vision |= {"hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 32, "num_position_embeddings": 144}
        vision |= {"deepstack_visual_indexes": [0]}
    text = TEXT | _ids(tokenizer) | {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}}
    if third:
        text |= {"head_dim": 8}
    if name == "Qwen3VLMoe":
        text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    ids = {
        "image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    }
    config = getattr(transformers, f"{name}Config")(vision_config=vision, text_config=text, **ids)
    _save(folder, f"{name}ForConditionalGeneration", config, processor)


def _clip_vision() -> dict[str, Any]:
    return {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 8, "projection_dim": 16} | SMALL


def _siglip_vision(side: int = 32) -> dict[str, Any]:
    return {"model_type": "siglip_vision_model", "image_size": side, "patch_size": 8, "vision_use_head": False} | SMALL


def _llava(folder: Path) -> None:
    tokenizer = tiny_tokenizer({"image_token": "<image>"})
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SIDE)
    processor = transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT.replace("IMAGE", "<image>\n"),
    )
    config = transformers.LlavaConfig(
        vision_config=_clip_vision(),
        text_config={"model_type": "llama"} | TEXT | _ids(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        image_seq_length=16,
    )
    _save(folder, "LlavaForConditionalGeneration", config, processor)


def _llava_next(folder: Path) -> None:
    tokenizer = tiny_tokenizer({"image_token": "<image>"})
    images = transformers.LlavaNextImageProcessor(
        size={"shortest_edge": 32}, crop_size=SIDE, image_grid_pinpoints=PINPOINTS
    )
    processor = transformers.LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT.replace("IMAGE", "<image>\n"),
    )
    config = transformers.LlavaNextConfig(
        vision_config=_clip_vision(),
        text_config={"model_type": "mistral"} | TEXT | _ids(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-1,
        image_seq_length=16,
    )
    _save(folder, "LlavaNextForConditionalGeneration", config, processor)


def _llava_onevision(folder: Path) -> None:
    tokenizer = tiny_tokenizer({"image_token": "<image>", "video_token": "<video>"})
    images = transformers.LlavaOnevisionImageProcessor(size=SIDE, image_grid_pinpoints=PINPOINTS)
    videos = importlib.import_module("transformers.models.llava_onevision.video_processing_llava_onevision")
    processor = transformers.LlavaOnevisionProcessor(
        images,
        tokenizer,
        videos.LlavaOnevisionVideoProcessor(size=SIDE),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=CHAT.replace("IMAGE", "<image>\n"),
        vision_aspect_ratio="anyres_max_2",  # so that larger grids are scaled down, as anyres_max_9 does at full size
    )
    config = transformers.LlavaOnevisionConfig(
        vision_config=_siglip_vision(),
        text_config={"model_type": "qwen2"} | TEXT | _ids(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=PINPOINTS,
        vision_feature_layer=-1,
        vision_aspect_ratio="anyres_max_2",
    )
    _save(folder, "LlavaOnevisionForConditionalGeneration", config, processor)


def _paligemma(folder: Path, text: str = "gemma") -> None:
    tokenizer = tiny_tokenizer({"image_token": "<image>"})
    images = transformers.SiglipImageProcessor(size=SIDE)
    images.image_seq_length = 16
    processor = transformers.PaliGemmaProcessor(images, tokenizer)
    config = transformers.PaliGemmaConfig(
        vision_config=_siglip_vision(),
        text_config={"model_type": text, "head_dim": 8} | TEXT | _ids(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        hidden_size=32,
    )
    _save(folder, "PaliGemmaForConditionalGeneration", config, processor)


def build_tiny_paligemma_2(folder: Path) -> Path:
    """A tiny PaliGemma 2, whose text model (Gemma 2) caps its attention scores, in a folder, which is returned."""
    _paligemma(folder, "gemma2")
    return folder


def _internvl(folder: Path) -> None:
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    tokenizer = tiny_tokenizer(named | {"video_token": "<video>"})
    images = transformers.GotOcr2ImageProcessor(size=SIDE, crop_to_patches=True, min_patches=1, max_patches=6)
    videos = importlib.import_module("transformers.models.internvl.video_processing_internvl")
    processor = transformers.InternVLProcessor(
        images,
        tokenizer,
        videos.InternVLVideoProcessor(size=SIDE),
        image_seq_length=4,
        chat_template=CHAT.replace("IMAGE", "<IMG_CONTEXT>\n"),
    )
    config = transformers.InternVLConfig(
        vision_config=SMALL | {"image_size": [32, 32], "patch_size": [8, 8]},
        text_config={"model_type": "qwen2"} | TEXT | _ids(tokenizer),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
    )
    _save(folder, "InternVLForConditionalGeneration", config, processor)


def _gemma3(folder: Path) -> None:
    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = tiny_tokenizer(named)
    begin = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)])
    tokenizer.backend_tokenizer.post_processor = begin  # as Gemma's does, and its chat template begins so, too
    images = transformers.Gemma3ImageProcessor(
        size={"height": 64, "width": 64},
        do_pan_and_scan=True,
        pan_and_scan_min_crop_size=16,
        pan_and_scan_max_num_crops=4,
        pan_and_scan_min_ratio_to_activate=1.2,
    )
    processor = transformers.Gemma3Processor(
        images, tokenizer, chat_template="<s>" + CHAT.replace("IMAGE", "<start_of_image>"), image_seq_length=16
    )
    config = transformers.Gemma3Config(
        vision_config=_siglip_vision(64),
        text_config=TEXT | _ids(tokenizer) | {"head_dim": 8, "sliding_window": 512},
        image_token_index=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_index=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_index=tokenizer.convert_tokens_to_ids("<end_of_image>"),
        mm_tokens_per_image=16,
    )
    _save(folder, "Gemma3ForConditionalGeneration", config, processor)


def _mistral3(folder: Path) -> None:
    tokenizer = tiny_tokenizer({}, ("[IMG]", "[IMG_BREAK]", "[IMG_END]"))
    images = transformers.PixtralImageProcessor(size={"longest_edge": 96}, patch_size=8)
    chat = CHAT.replace("IMAGE", "[IMG]")
    processor = transformers.PixtralProcessor(images, tokenizer, 8, spatial_merge_size=2, chat_template=chat)
    config = transformers.Mistral3Config(
        vision_config={"model_type": "pixtral", "image_size": 96, "patch_size": 8} | SMALL,
        text_config={"model_type": "mistral", "head_dim": 8} | TEXT | _ids(tokenizer),
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
    )
    _save(folder, "Mistral3ForConditionalGeneration", config, processor)


def _blip_2(folder: Path) -> None:
    tokenizer = tiny_tokenizer({})  # the processor adds <image>
    images = transformers.BlipImageProcessor(size=SIDE)
    processor = transformers.Blip2Processor(images, tokenizer, num_query_tokens=4)
    queries = {"vocab_size": 64, "cross_attention_frequency": 1, "encoder_hidden_size": 16} | SMALL
    queries |= {"initializer_range": 0.5}  # or its queries read all patches alike
    text = {"model_type": "opt", "hidden_size": 32, "ffn_dim": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    text |= {"word_embed_proj_dim": 32, "max_position_embeddings": 512}
    config = transformers.Blip2Config(
        vision_config=SMALL | {"image_size": 32, "patch_size": 8, "initializer_range": 0.1},
        qformer_config=queries,
        text_config=text | _ids(tokenizer),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    _save(folder, "Blip2ForConditionalGeneration", config, processor)


def build_tiny_t5(folder: Path) -> Path:
    """A tiny BLIP-2 whose answers come from a T5's decoder, in a folder, which is returned."""
    tokenizer = tiny_tokenizer({})
    processor = transformers.Blip2Processor(transformers.BlipImageProcessor(size=SIDE), tokenizer, num_query_tokens=4)
    queries = {"vocab_size": 64, "cross_attention_frequency": 1, "encoder_hidden_size": 16} | SMALL
    text = {"model_type": "t5", "d_model": 32, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 4}
    config = transformers.Blip2Config(
        vision_config=SMALL | {"image_size": 32, "patch_size": 8},
        qformer_config=queries,
        text_config=text | _ids(tokenizer) | {"decoder_start_token_id": tokenizer.pad_token_id},
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    _save(folder, "Blip2ForConditionalGeneration", config, processor)
    return folder


def _instructblip(folder: Path) -> None:
    tokenizer = tiny_tokenizer({})  # the processor adds <image>
    images = transformers.BlipImageProcessor(size=SIDE)
    processor = transformers.InstructBlipProcessor(images, tokenizer, tiny_tokenizer({}), num_query_tokens=4)
    queries = {"vocab_size": len(tokenizer), "cross_attention_frequency": 1, "encoder_hidden_size": 16} | SMALL
    queries |= {"initializer_range": 0.5}  # or its queries read all patches alike
    config = transformers.InstructBlipConfig(
        vision_config=SMALL | {"image_size": 32, "patch_size": 8, "initializer_range": 0.1},
        qformer_config=queries,
        text_config={"model_type": "llama"} | TEXT | _ids(tokenizer),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    _save(folder, "InstructBlipForConditionalGeneration", config, processor)


def _bert_tokenizer(folder: Path) -> Any:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "color", "is", "the", "square", "?", "cat"]
    vocabulary += [*"abcdefghijklmnopqrstuvwxyz", *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz")]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    return transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"))


def _blip(folder: Path) -> None:
    tokenizer = _bert_tokenizer(folder)
    processor = transformers.BlipProcessor(transformers.BlipImageProcessor(size=SIDE), tokenizer)
    text = {"vocab_size": len(tokenizer), "encoder_hidden_size": 16, "bos_token_id": 2, "sep_token_id": 3} | SMALL
    config = transformers.BlipConfig(
        text_config=text
        | {"num_hidden_layers": 2, "pad_token_id": 0, "eos_token_id": 3, "max_position_embeddings": 64},
        vision_config=SMALL | {"image_size": 32, "patch_size": 8},
        image_text_hidden_size=16,
        projection_dim=16,
    )
    torch.manual_seed(7)
    transformers.BlipForQuestionAnswering(config).eval().save_pretrained(folder)
    processor.save_pretrained(folder)


def _vilt(folder: Path) -> None:
    tokenizer = _bert_tokenizer(folder)
    images = transformers.ViltImageProcessor(size={"shortest_edge": 32}, size_divisor=8)
    answers = ["yes", "no", "red", "blue", "2"]
    config = transformers.ViltConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=40,
        image_size=32,
        patch_size=8,
        id2label=dict(enumerate(answers)),
        label2id={answer: index for index, answer in enumerate(answers)},
        **SMALL | {"num_hidden_layers": 2},
    )
    torch.manual_seed(7)
    transformers.ViltForQuestionAnswering(config).eval().save_pretrained(folder)
    transformers.ViltProcessor(images, tokenizer).save_pretrained(folder)


TINY: dict[str, Callable[[Path], None]] = {
    "idefics3": _idefics3,
    "smolvlm": _smolvlm,
    "qwen2_vl": lambda folder: _qwen(folder, "Qwen2VL"),
    "qwen2_5_vl": lambda folder: _qwen(folder, "Qwen2_5_VL"),
    "qwen3_vl": lambda folder: _qwen(folder, "Qwen3VL"),
    "qwen3_vl_moe": lambda folder: _qwen(folder, "Qwen3VLMoe"),
    "llava": _llava,
    "llava_next": _llava_next,
    "llava_onevision": _llava_onevision,
    "paligemma": _paligemma,
    "internvl": _internvl,
    "gemma3": _gemma3,
    "mistral3": _mistral3,
    "blip-2": _blip_2,
    "instructblip": _instructblip,
    "blip": _blip,
    "vilt": _vilt,
}


def build_tiny(name: str, folder: Path) -> Path:
    """Write the tiny checkpoint of a family, a key of ``TINY`` and its ``model_type``, into a folder, and return it."""
    TINY[name](folder)
    return folder
