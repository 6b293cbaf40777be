"""The one table of families: what is asked how, and where a family's image tokens lie on the photo.

To add one: a function that gives the ``Places`` of one photo's image tokens out of what the processor made of it, and
an entry in ``FAMILIES`` under the ``model_type`` of its config.json. See docs/your_model.md.
"""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valm_core.vision_language.geometry import Places, any_resolution, centre_crop, one_grid, tiled

SHORT = "Answer with one word or a short phrase."
CHAT = "{image}\n{question} " + SHORT  # where a checkpoint has a chat template, it goes around this


def for_longer_texts(prompt: str) -> str:
    """A prompt without the wish for a short answer; itself where it has none in these words."""
    before, found, after = prompt.partition(SHORT)
    return f"{before.rstrip(' ')}{after}".rstrip() if found else prompt


@dataclass(frozen=True)
class Seen:
    """One photo as its processor handed it on: everything that places may depend on.

    ``size`` is (width, height) of the photo in pixels, ``inputs`` what the model gets, ``tokens`` how many image tokens
    stand in its sequence.
    """

    size: tuple[int, int]
    inputs: Mapping[str, Any]
    processor: Any
    config: Any
    tokens: int


@dataclass(frozen=True)
class Family:
    """What a family needs.

    Args:
        title: for people.
        places: of one photo's image tokens; None where the model has no sequence of them (``reads``).
        prompt: with ``{image}`` where the image token goes and ``{question}``; the part around it comes from the
            checkpoint's chat template, where it has one.
        plain: what is asked where there is no chat template.
        reads: "sequence": image tokens stand among the words; "queries": tokens that read the photo's patches by
            cross-attention do; "labels": it chooses from a list (ViLT); "questions": the question's own encoder reads
            the patches (BLIP).
    """

    title: str
    places: Callable[[Seen], Places] | None
    prompt: str = CHAT
    plain: str = "USER: {image}\n{question} " + SHORT + " ASSISTANT:"
    reads: str = "sequence"


def square(seen: Seen) -> Places:
    """The photo stretched to a square of tokens: PaliGemma, Gemma 3."""
    return one_grid(math.isqrt(seen.tokens), math.isqrt(seen.tokens))


def merged_patches(seen: Seen) -> Places:
    """A grid as long and wide as the photo asks for, patches merged two by two: Qwen-VL."""
    _, rows, columns = (int(number) for number in seen.inputs["image_grid_thw"][0])
    merge = seen.processor.image_processor.merge_size
    return one_grid(rows // merge, columns // merge)


def rows_of_patches(seen: Seen) -> Places:
    """A grid in the photo's shape, patches merged two by two, each row ended by a token of its own kind: Mistral 3."""
    height, width = (int(side) for side in seen.inputs["image_sizes"][0])
    side = seen.processor.patch_size * seen.processor.spatial_merge_size
    return one_grid(height // side, width // side)


def idefics3_tiles(seen: Seen) -> Places:
    """Tiles and a thumbnail: Idefics3, SmolVLM."""
    width, height = seen.size
    _, rows, columns = seen.processor.image_processor.get_number_of_image_patches(height, width, {})
    return tiled(rows, columns, math.isqrt(seen.processor.image_seq_len), thumbnail=True)


def internvl_tiles(seen: Seen) -> Places:
    """Tiles of the nearest shape, and a thumbnail where there are several: InternVL."""
    from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

    width, height = seen.size
    images = seen.processor.image_processor
    tile = (images.size["height"], images.size["width"])
    columns, rows = 1, 1
    if len(seen.inputs["pixel_values"]) > 1:
        columns, rows = get_optimal_tiled_canvas((height, width), tile, images.min_patches, images.max_patches)
    return tiled(rows, columns, math.isqrt(seen.processor.image_seq_length), thumbnail=rows * columns > 1)


def clip_crop(seen: Seen) -> Places:
    """One grid over what CLIP's processor leaves of the photo: LLaVA."""
    height, width = seen.inputs["pixel_values"].shape[-2:]
    patch = seen.processor.patch_size
    images = seen.processor.image_processor
    window = (0.0, 0.0, 1.0, 1.0)
    if images.do_center_crop and images.size.get("shortest_edge"):
        crop = (images.crop_size["height"], images.crop_size["width"])
        window = centre_crop(*seen.size, images.size["shortest_edge"], crop)
    rows, columns = height // patch, width // patch
    return one_grid(rows, columns, window, before=seen.tokens - rows * columns)


def llava_next_tiles(seen: Seen) -> Places:
    """The whole photo, then tiles of a padded canvas: LLaVA-NeXT and LLaVA-OneVision."""
    from transformers.image_processing_utils import select_best_resolution

    width, height = seen.size
    tile = int(seen.inputs["pixel_values"].shape[-1])
    canvas = select_best_resolution((height, width), seen.processor.image_processor.image_grid_pinpoints)
    aspect = getattr(seen.processor, "vision_aspect_ratio", None)
    most = float(aspect.removeprefix("anyres_max_")) if aspect else None
    patch = seen.config.vision_config.patch_size
    class_token = int(not aspect and seen.processor.vision_feature_select_strategy == "full")
    return any_resolution(seen.size, tuple(canvas), tile, patch, before=class_token, most=most)


def stretched_patches(seen: Seen) -> Places:
    """A class token and a square of patches, which query tokens read: BLIP-2, InstructBLIP, and BLIP itself."""
    height, width = seen.inputs["pixel_values"].shape[-2:]
    patch = seen.config.vision_config.patch_size
    return one_grid(height // patch, width // patch, before=1)


LLAVA_PLAIN = "USER: {image}\n{question}\n" + SHORT + " ASSISTANT:"
FAMILIES: dict[str, Family] = {
    "idefics3": Family("Idefics3", idefics3_tiles),
    "smolvlm": Family("SmolVLM", idefics3_tiles),
    "qwen2_vl": Family("Qwen2-VL", merged_patches),
    "qwen2_5_vl": Family("Qwen2.5-VL", merged_patches),
    "qwen3_vl": Family("Qwen3-VL", merged_patches),
    "qwen3_vl_moe": Family("Qwen3-VL (mixture of experts)", merged_patches),
    "llava": Family("LLaVA", clip_crop, plain=LLAVA_PLAIN),
    "llava_next": Family("LLaVA-NeXT", llava_next_tiles, plain=LLAVA_PLAIN),
    "llava_onevision": Family("LLaVA-OneVision", llava_next_tiles, plain=LLAVA_PLAIN),
    "paligemma": Family("PaliGemma", square, prompt="{image}answer en {question}", plain="{image}answer en {question}"),
    "internvl": Family("InternVL", internvl_tiles),
    "gemma3": Family("Gemma 3", square),
    "mistral3": Family("Mistral 3", rows_of_patches),
    "blip-2": Family("BLIP-2", stretched_patches, plain="Question: {question} Short answer:", reads="queries"),
    "instructblip": Family(
        "InstructBLIP", stretched_patches, plain="Question: {question} Short answer:", reads="queries"
    ),
    "vilt": Family("ViLT", None, reads="labels"),
    "blip": Family("BLIP (VQA)", stretched_patches, reads="questions"),
}
UNKNOWN = Family("an unknown family", None)  # it answers, and gets the maps that need no knowledge of the model
BEGIN, END = "<!-- families -->", "<!-- /families -->"
READS = {
    "sequence": "grad_cam, raw_attention, relative_attention; words of question and answer",
    "queries": "the same, through the query tokens' own attention to the photo",
    "labels": "grad_cam, raw_attention; words of the question",
    "questions": "grad_cam, raw_attention; words of the question",
}


def families_table() -> str:
    """The families as a Markdown table."""
    lines = ["| family | `model_type` | where its image tokens lie | attention maps | tried with real weights |"]
    lines.append("|---|---|---|---|---|")
    for kind, family in FAMILIES.items():
        about = (family.places.__doc__ or "").partition(":")[0] if family.places else "A grid of patches in its shape"
        lines.append(f"| {family.title} | `{kind}` | {about} | {READS[family.reads]} | no |")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """A page's text with the table between its two markers."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{families_table()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")
