"""Model cards say what of a photo a model sees, and whose image encoder it has."""

from training.tasks.cards import task_card
from valm_core.config import ValmConfig


def image_line(**settings) -> str:
    card = task_card(ValmConfig(task="caption", vocabulary=10, **settings), 10, "figures", "command", "data")
    (line,) = [line for line in card.splitlines() if line.startswith("| image encoder")]
    return line


def test_what_a_model_sees_of_a_photo():
    encoder = "| image encoder | `package:efficientnet-lite0` at 224 px"
    assert image_line() == f"{encoder}, frozen |"
    assert image_line(photo_detail=192, train_image_encoder=True) == (
        f"{encoder}, photos reduced to 192 px before, fine-tuned |"
    )


def test_whose_image_encoder_it_has():
    line = image_line(image_encoder_of="checkpoints/other", image_encoder_of_sha256="ab" * 32)
    assert "at 224 px, that of the checkpoint `checkpoints/other`, sha256 `abababababab…`: not stored here" in line
