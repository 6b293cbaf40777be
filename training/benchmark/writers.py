"""What one would pick today: models that see a photo's tokens beside the question's and write their answer."""

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from training.benchmark.models import ANSWER_TOKENS, Peer
from training.benchmark.sizes import (
    MOONDREAM_IMAGE,
    MOONDREAM_LANGUAGE,
    QWEN2_VL_IMAGE,
    QWEN2_VL_LANGUAGE,
    SMOLVLM_IMAGE,
    SMOLVLM_LANGUAGE,
)
from valm_core.inputs.photo import open_photo, photo_to_array


def plus_minus_one(image: Image.Image) -> Tensor:
    """A photo's pixels [3, height, width] in -1..1."""
    return torch.from_numpy(np.asarray(image, dtype=np.float32)).permute(2, 0, 1) / 127.5 - 1


class Writer(Peer):
    """What they share: photo, question and what a chat template adds are read, then one token is written at a time."""

    slow = True
    TEMPLATE_TOKENS = 40  # around the question

    def language(self) -> tuple[Any, Any]:
        """The language model's layers, and what scores the next token."""
        raise NotImplementedError

    def positions(self, seen: Any, length: int) -> dict[str, Tensor]:
        """Arguments that say where each of the photo's tokens and ``length`` after them stand; {} for one by one."""
        return {}

    def ask(self, seen: Any, questions: list[str]) -> list[list[int]]:
        """The written tokens of each question."""
        layers, head = self.language()
        photo = seen if isinstance(seen, Tensor) else seen[0]
        asked = self.tokens(questions)["input_ids"]
        text = torch.cat([asked.new_ones(len(asked), self.TEMPLATE_TOKENS), asked], dim=1)
        embed = layers.get_input_embeddings()
        read = torch.cat([photo, embed(text).to(photo)], dim=1)
        places = self.positions(seen, text.shape[1] + ANSWER_TOKENS)
        written: list[Tensor] = []
        # What a model keeps of the tokens before has a new name in transformers; the former one goes with 5.40.
        kept = "cache" if "cache" in inspect.signature(layers.forward).parameters else "past_key_values"
        cache, begin = None, 0
        for _ in range(ANSWER_TOKENS):
            at = {name: values[..., begin : begin + read.shape[1]] for name, values in places.items()}
            output = layers(inputs_embeds=read, use_cache=True, **{kept: cache}, **at)
            cache, begin = output[kept], begin + read.shape[1]
            written.append(head(output.last_hidden_state[:, -1]).argmax(dim=-1))
            read = embed(written[-1])[:, None].to(photo)
        return torch.stack(written, dim=1).tolist()


class SmolVlm(Writer):
    """SmolVLM-256M (Marafioti et al. 2025, https://arxiv.org/abs/2504.05299)."""

    name = "SmolVLM-256M"
    note = f"tiles of 512 px and a thumbnail, as by default; writes {ANSWER_TOKENS} tokens greedily; measured once"
    TEXT, IMAGE = SMOLVLM_LANGUAGE, SMOLVLM_IMAGE
    LONG_SIDE = 2048  # of the photo

    @classmethod
    def build(cls) -> nn.Module:
        """The model with random weights."""
        from transformers import Idefics3Config, Idefics3ForConditionalGeneration

        sizes = {"vision_config": cls.IMAGE, "text_config": cls.TEXT | {"model_type": "llama"}, "scale_factor": 4}
        picture = cls.TEXT["vocab_size"] - 90
        return Idefics3ForConditionalGeneration(Idefics3Config(**sizes, image_token_id=picture, pad_token_id=0))

    @staticmethod
    def load(folder: Path) -> nn.Module:
        """The saved model."""
        from transformers import Idefics3ForConditionalGeneration

        return Idefics3ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)

    def read(self, photo: bytes) -> Tensor:
        """Tiles of the photo, its long side at 2048, and the whole in one [tiles, 3, 512, 512], as its processor."""
        image, side = open_photo(photo), self.IMAGE["image_size"]
        scale = self.LONG_SIDE / max(image.size)
        columns, rows = (math.ceil(round(length * scale) / side) for length in image.size)
        large = image.resize((columns * side, rows * side), Image.Resampling.LANCZOS)
        places = [(side * column, side * row) for row in range(rows) for column in range(columns)]
        parts = [large.crop((x, y, x + side, y + side)) for x, y in places] + [image.resize((side, side))]
        return torch.stack([plus_minus_one(part) for part in parts])

    def see(self, pixels: list[Tensor]) -> Tensor:
        """The photos' tokens [P, 64 a tile, 576]; photos must have as many tiles."""
        tiles = torch.stack(pixels).to(self.device)  # [P, tiles, 3, 512, 512]
        seen = self.model.model.vision_model(pixel_values=tiles.flatten(0, 1)).last_hidden_state
        return self.model.model.connector(seen).unflatten(0, tiles.shape[:2]).flatten(1, 2)

    def language(self) -> tuple[Any, Any]:
        """See ``Writer``."""
        return self.model.model.text_model, self.model.lm_head


class Qwen2Vl(Writer):
    """Qwen2-VL-2B (Wang et al. 2024, https://arxiv.org/abs/2409.12191)."""

    name = "Qwen2-VL-2B"
    note = f"a token for 28 x 28 px of the photo as it is; writes {ANSWER_TOKENS} tokens greedily; measured once"
    TEXT, IMAGE = QWEN2_VL_LANGUAGE, QWEN2_VL_IMAGE

    @classmethod
    def build(cls) -> nn.Module:
        """The model with random weights."""
        from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration

        config = Qwen2VLConfig(text_config=cls.TEXT, vision_config=cls.IMAGE, tie_word_embeddings=True)
        return Qwen2VLForConditionalGeneration(config)

    @staticmethod
    def load(folder: Path) -> nn.Module:
        """The saved model."""
        from transformers import Qwen2VLForConditionalGeneration

        return Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)

    def read(self, photo: bytes) -> Any:
        """Patches [4 a token, 1176] and their grid [1, 3], by its own processor."""
        from transformers import Qwen2VLImageProcessor

        found = Qwen2VLImageProcessor()(open_photo(photo), return_tensors="pt")
        return found["pixel_values"], found["image_grid_thw"]

    def see(self, pixels: list[Any]) -> tuple[Tensor, Tensor]:
        """The photos' tokens [P, N, 1536] and their grids [P, 3]; photos must have one size."""
        patches, grids = (torch.cat(parts).to(self.device) for parts in zip(*pixels, strict=True))
        tokens = self.model.model.visual(patches, grid_thw=grids).pooler_output
        return tokens.unflatten(0, (len(grids), -1)), grids

    def positions(self, seen: tuple[Tensor, Tensor], length: int) -> dict[str, Tensor]:
        """Time, row and column of every token."""
        photo = torch.ones(seen[0].shape[:2], dtype=torch.long, device=self.device)
        kinds = torch.cat([photo, photo.new_zeros(len(photo), length)], dim=1)
        ids = kinds * self.model.config.image_token_id
        places, _ = self.model.model.get_rope_index(ids, image_grid_thw=seen[1], mm_token_type_ids=kinds)
        return {"position_ids": places}  # [3, P, T]

    def language(self) -> tuple[Any, Any]:
        """See ``Writer``."""
        return self.model.model.language_model, self.model.lm_head


class MoondreamLike(nn.Module):
    """SigLIP's layers over crops and the whole, side by side into two linear layers, then Phi-1.5's."""

    def __init__(self, image: nn.Module, projection: nn.Module, text: nn.Module):
        super().__init__()
        self.image, self.projection, self.text = image, projection, text

    @staticmethod
    def projection_of(image_width: int, text_width: int) -> nn.Module:
        """The two linear layers."""
        inner = 4 * text_width
        return nn.Sequential(nn.Linear(2 * image_width, inner), nn.GELU("tanh"), nn.Linear(inner, text_width))

    def save_pretrained(self, folder: Path) -> None:
        """Each part in a folder of its own."""
        from safetensors.torch import save_file

        for name in ("image", "text"):
            getattr(self, name).save_pretrained(folder / name)
        save_file(self.projection.state_dict(), folder / "model.safetensors")


class Moondream(Writer):
    """As Moondream 2 is built (https://github.com/vikhyat/moondream), out of SigLIP's and Phi-1.5's layers."""

    name = "Moondream-like"
    note = f"crops of 378 px, at most 12, and the whole; writes {ANSWER_TOKENS} tokens greedily; measured once"
    TEXT, IMAGE = MOONDREAM_LANGUAGE, MOONDREAM_IMAGE
    MAX_CROPS, OVERLAP = 12, 112  # pixels that a crop shares with its neighbours

    @classmethod
    def build(cls) -> nn.Module:
        """The model with random weights."""
        from transformers import PhiConfig, PhiForCausalLM, SiglipVisionConfig, SiglipVisionModel

        image = SiglipVisionModel(SiglipVisionConfig(**cls.IMAGE, vision_use_head=False))
        projection = MoondreamLike.projection_of(cls.IMAGE["hidden_size"], cls.TEXT["hidden_size"])
        return MoondreamLike(image, projection, PhiForCausalLM(PhiConfig(**cls.TEXT)))

    @staticmethod
    def load(folder: Path) -> nn.Module:
        """The saved model."""
        from safetensors.torch import load_file
        from transformers import PhiForCausalLM, SiglipVisionModel

        image = SiglipVisionModel.from_pretrained(folder / "image", dtype=torch.float32)
        text = PhiForCausalLM.from_pretrained(folder / "text", dtype=torch.float32)
        projection = MoondreamLike.projection_of(image.config.hidden_size, text.config.hidden_size)
        projection.load_state_dict(load_file(folder / "model.safetensors"))
        return MoondreamLike(image, projection, text)

    def read(self, photo: bytes) -> Tensor:
        """The whole, then crops that cover the photo in rows and columns [1 + crops, 3, 378, 378]."""
        image, side = open_photo(photo), self.IMAGE["image_size"]
        rows, columns = self.tiling(image.height, image.width)
        step = side - self.OVERLAP
        large = image.resize((columns * step + self.OVERLAP, rows * step + self.OVERLAP), Image.Resampling.LANCZOS)
        corners = [(step * column, step * row) for row in range(rows) for column in range(columns)]
        crops = [plus_minus_one(large.crop((x, y, x + side, y + side))) for x, y in corners]
        whole = torch.from_numpy(photo_to_array(image, side)) * 2 - 1
        return torch.stack([whole, *crops])

    def tiling(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of crops: one for a small photo, else as many as are allowed in the photo's own shape."""
        step = self.IMAGE["image_size"] - self.OVERLAP
        height, width = (max(length - self.OVERLAP, 1) for length in (height, width))
        if height <= step or width <= step:
            return 1, 1
        rows, columns = (math.isqrt(int(self.MAX_CROPS * ratio)) for ratio in (height / width, width / height))
        return min(max(rows, 1), self.MAX_CROPS), min(max(columns, 1), self.MAX_CROPS)

    def see(self, pixels: list[Tensor]) -> Tensor:
        """The photos' tokens [P, 729, 2048]; photos must have as many crops."""
        crops = torch.stack(pixels).to(self.device)  # [P, 1 + crops, 3, 378, 378]
        seen = self.model.image(pixel_values=crops.flatten(0, 1)).last_hidden_state.unflatten(0, crops.shape[:2])
        # The crops' patches averaged, in place of laid side by side and pooled to as many: next to nothing of the time.
        return self.model.projection(torch.cat([seen[:, 0], seen[:, 1:].mean(dim=1)], dim=-1))

    def language(self) -> tuple[Any, Any]:
        """See ``Writer``."""
        return self.model.text.model, self.model.text.lm_head
