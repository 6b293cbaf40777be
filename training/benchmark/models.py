"""Our checkpoint and models that classify answers or write them with BERT, behind the same four steps."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from valm_core.inputs.photo import open_photo, photo_to_pixels
from valm_core.model.encoders.text_encoder import build_tokenizer
from valm_core.outputs import EncodedImage
from valm_core.predictor import VqaPredictor

PEER_ANSWERS = 3129  # of the usual VQA v2 answer list
ANSWER_TOKENS = 3  # that BLIP writes: two word pieces and the end, as most answers of VQA v2
BOXES, BOX_FEATURES = 36, 2048
MEAN, STD = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1), torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
TOKENIZER = "package:all-minilm-l6-v2"  # the vocabulary of bert-base-uncased, which all peers use


class Valm:
    """A VALM checkpoint. One question costs an answer with the photo and one without it, as on the page."""

    name, note, slow = "VALM", "answer with and without the photo", False

    def __init__(self, folder: Path, device: torch.device):
        self.predictor = VqaPredictor.from_checkpoint(folder, str(device))
        self.model, self.device = self.predictor.model, device

    def read(self, photo: bytes) -> Tensor:
        """The file of a photo -> pixels [3, S, S]."""
        return self.model.pixels(self.predictor.open_photo(photo))

    def see(self, pixels: list[Tensor]) -> EncodedImage:
        """What can be computed from P photos before any question."""
        return self.model.encode_image(torch.stack(pixels).to(self.device))

    def ask(self, seen: EncodedImage, questions: list[str]) -> list[int]:
        """The likeliest answer's number for each of B questions about as many photos."""
        ids, mask = self.model.tokenizer(questions, truncate=True)
        output = self.model(
            token_ids=ids.to(self.device), text_mask=mask.to(self.device), image_tokens=seen.tokens.to(self.device)
        )
        return output.logits.argmax(dim=-1).tolist()

    def encode(self, photo: bytes) -> EncodedImage:
        """One photo, as an app encodes it when it arrives."""
        return self.predictor.encode(photo)

    def next_question(self, encoded: EncodedImage, question: str) -> None:
        """One question about a photo that is encoded."""
        self.predictor.answer(encoded, question)

    def explain(self, encoded: EncodedImage, question: str) -> None:
        """The answer and its default map."""
        self.predictor.answer(encoded, question)
        self.predictor.explain(encoded, question)


class Peer:
    """What the peers share. A peer has ``see`` and ``ask``; one question is a batch of one."""

    name, note = "", ""
    slow = False  # takes a minute on a CPU: one question, once
    explain = None  # none of them comes with an explanation
    side = 0  # pixels of a photo's side, as the model reads it

    def __init__(self, folder: Path, device: torch.device):
        self.device = device
        self.tokenizer = build_tokenizer(TOKENIZER)
        self.model: Any = self.load(folder).to(device).eval()  # of transformers: without types

    def read(self, photo: bytes) -> Tensor:
        """The file of a photo -> pixels [3, height, width], normalised."""
        return (photo_to_pixels(open_photo(photo), self.side) - MEAN) / STD

    @staticmethod
    def build() -> nn.Module:
        """The model with random weights."""
        raise NotImplementedError

    @staticmethod
    def load(folder: Path) -> nn.Module:
        """The saved model."""
        raise NotImplementedError

    def see(self, pixels: list[Tensor]) -> Any:
        """What can be computed from P photos before any question."""
        raise NotImplementedError

    def ask(self, seen: Any, questions: list[str]) -> Any:
        """An answer to each of B questions about as many photos."""
        raise NotImplementedError

    def tokens(self, questions: list[str]) -> dict[str, Tensor]:
        """Questions -> token ids and mask [B, T]."""
        encoded = self.tokenizer(questions, padding=True, truncation=True, max_length=40, return_tensors="pt")
        return {name: encoded[name].to(self.device) for name in ("input_ids", "attention_mask")}

    def encode(self, photo: bytes) -> Any:
        """One photo, as an app encodes it when it arrives."""
        return self.see([self.read(photo)])

    def next_question(self, encoded: Any, question: str) -> None:
        """One question about a photo that is encoded."""
        self.ask(encoded, [question])


class Vilt(Peer):
    """ViLT-B/32 (Kim et al. 2021, https://arxiv.org/abs/2102.03334): one transformer over words and patches."""

    name, note = "ViLT-B/32", "384 px short side; photo and question meet in the first layer, so nothing is reused"

    @staticmethod
    def build() -> nn.Module:
        """The model with random weights."""
        from transformers import ViltConfig, ViltForQuestionAnswering

        return ViltForQuestionAnswering(ViltConfig(num_labels=PEER_ANSWERS))

    @staticmethod
    def load(folder: Path) -> nn.Module:
        """The saved model."""
        from transformers import ViltForQuestionAnswering

        return ViltForQuestionAnswering.from_pretrained(folder)

    def read(self, photo: bytes) -> Tensor:
        """Short side 384, long side at most 640, both multiples of 32, as its processor does."""
        image = open_photo(photo)
        scale = min(384 / min(image.size), 640 / max(image.size))
        image = image.resize([max(round(side * scale) // 32 * 32, 32) for side in image.size], Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)  # [3, height, width]
        return (pixels - MEAN) / STD

    def see(self, pixels: list[Tensor]) -> dict[str, Tensor]:
        """Photos padded to the largest of them, and their mask."""
        height, width = (max(photo.shape[side] for photo in pixels) for side in (1, 2))
        values = torch.zeros(len(pixels), 3, height, width)
        mask = torch.zeros(len(pixels), height, width, dtype=torch.long)
        for row, photo in enumerate(pixels):
            values[row, :, : photo.shape[1], : photo.shape[2]] = photo
            mask[row, : photo.shape[1], : photo.shape[2]] = 1
        return {"pixel_values": values.to(self.device), "pixel_mask": mask.to(self.device)}

    def ask(self, seen: dict[str, Tensor], questions: list[str]) -> list[int]:
        """The likeliest answer's number for each question."""
        return self.model(**seen, **self.tokens(questions)).logits.argmax(dim=-1).tolist()


class Blip(Peer):
    """BLIP base for VQA (Li et al. 2022, https://arxiv.org/abs/2201.12086): it writes its answer."""

    name, note = "BLIP base", f"384 px; writes {ANSWER_TOKENS} tokens greedily; the photo's patches are reused"
    side = 384

    @staticmethod
    def build() -> nn.Module:
        """The model with random weights."""
        from transformers import BlipConfig, BlipForQuestionAnswering

        return BlipForQuestionAnswering(BlipConfig(text_config={"num_attention_heads": 12}))

    @staticmethod
    def load(folder: Path) -> nn.Module:
        """The saved model."""
        from transformers import BlipForQuestionAnswering

        return BlipForQuestionAnswering.from_pretrained(folder)

    def see(self, pixels: list[Tensor]) -> Tensor:
        """The patches' vectors [P, 577, 768]."""
        return self.model.vision_model(pixel_values=torch.stack(pixels).to(self.device)).last_hidden_state

    def ask(self, seen: Tensor, questions: list[str]) -> list[list[int]]:
        """The written tokens, by the same steps as ``BlipForQuestionAnswering.generate``."""
        everything = torch.ones(seen.shape[:-1], dtype=torch.long, device=self.device)
        read = self.model.text_encoder(
            **self.tokens(questions), encoder_hidden_states=seen, encoder_attention_mask=everything
        ).last_hidden_state
        begin = torch.full((len(read), 1), self.model.decoder_start_token_id, device=self.device)
        written = self.model.text_decoder.generate(
            input_ids=begin,
            eos_token_id=self.model.config.text_config.sep_token_id,
            pad_token_id=self.model.config.text_config.pad_token_id,
            encoder_hidden_states=read,
            encoder_attention_mask=torch.ones(read.shape[:-1], dtype=torch.long, device=self.device),
            min_new_tokens=ANSWER_TOKENS,
            max_new_tokens=ANSWER_TOKENS,
            do_sample=False,
        )
        return written.tolist()


class Lxmert(Peer):
    """LXMERT (Tan & Bansal 2019, https://arxiv.org/abs/1908.07490) without the object detector that it needs."""

    name, note = (
        "LXMERT",
        f"without its detector: it is given {BOXES} random boxes",
    )

    @staticmethod
    def build() -> nn.Module:
        """The model with random weights."""
        from transformers import LxmertConfig, LxmertForQuestionAnswering

        return LxmertForQuestionAnswering(LxmertConfig(num_qa_labels=PEER_ANSWERS))

    @staticmethod
    def load(folder: Path) -> nn.Module:
        """The saved model."""
        from transformers import LxmertForQuestionAnswering

        return LxmertForQuestionAnswering.from_pretrained(folder)

    def read(self, photo: bytes) -> Tensor:
        """Random boxes and their features [36, 2048 + 4]."""
        generator = torch.Generator().manual_seed(len(photo))
        return torch.rand(BOXES, BOX_FEATURES + 4, generator=generator)

    def see(self, pixels: list[Tensor]) -> Tensor:
        """The boxes [P, 36, 2048 + 4]."""
        return torch.stack(pixels).to(self.device)

    def ask(self, seen: Tensor, questions: list[str]) -> list[int]:
        """The likeliest answer's number for each question."""
        features, places = seen.split([BOX_FEATURES, 4], dim=-1)
        output = self.model(**self.tokens(questions), visual_feats=features, visual_pos=places)
        return output.question_answering_score.argmax(dim=-1).tolist()


class BertResnet(nn.Module):
    """BERT base and ResNet-50, pooled, side by side into two linear layers: what one would write first."""

    def __init__(self):
        super().__init__()
        import torchvision
        from transformers import BertConfig, BertModel

        self.text = BertModel(BertConfig())
        self.image = torchvision.models.resnet50(weights=None)
        self.image.fc = nn.Identity()
        self.head = nn.Sequential(nn.Linear(768 + 2048, 1024), nn.ReLU(), nn.Linear(1024, PEER_ANSWERS))


class Concatenation(Peer):
    """``BertResnet`` at 224 px."""

    name, note = "BERT + ResNet-50", "224 px; the photo's pooled vector is reused"
    side = 224

    @staticmethod
    def build() -> nn.Module:
        """The model with random weights."""
        return BertResnet()

    @staticmethod
    def load(folder: Path) -> nn.Module:
        """The saved model."""
        from safetensors.torch import load_file
        from transformers.initialization import no_init_weights

        with no_init_weights():
            model = BertResnet()
        model.load_state_dict(load_file(folder / "model.safetensors"))
        return model

    def see(self, pixels: list[Tensor]) -> Tensor:
        """Pooled vectors [P, 2048]."""
        return self.model.image(torch.stack(pixels).to(self.device))

    def ask(self, seen: Tensor, questions: list[str]) -> list[int]:
        """The likeliest answer's number for each question."""
        text = self.model.text(**self.tokens(questions)).pooler_output
        return self.model.head(torch.cat([text, seen], dim=-1)).argmax(dim=-1).tolist()
