"""The app: `python app.py` on your machine, and a Hugging Face Space's entry. Loads a checkpoint, serves the page."""

import os
import sys
import tempfile

from demo import checkpoint_folder

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


def main() -> None:
    """Serve the page on 127.0.0.1:7860 (GRADIO_SERVER_NAME and GRADIO_SERVER_PORT change that)."""
    checkpoint = checkpoint_folder()
    if not (checkpoint / "config.json").is_file():
        sys.exit(f"No VALM checkpoint in {checkpoint}. Train one (`make train`) or set VALM_CHECKPOINT to its folder.")

    # Its own folder for uploads: gradio empties it at the end, and in the shared one other pages would lose theirs.
    os.environ.setdefault("GRADIO_TEMP_DIR", tempfile.mkdtemp(prefix="valm-"))
    from demo.interface import build_page, launch_options
    from demo.zero_gpu import lend
    from valm_core.predictor import VqaPredictor

    try:
        predictor = VqaPredictor.from_checkpoint(checkpoint)
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"The VALM checkpoint in {checkpoint} can't be used: {error}")
    on_spaces = {"server_name": "0.0.0.0"} if os.environ.get("SPACE_ID") else {}
    build_page(lend(predictor)).launch(**on_spaces, **launch_options())


if __name__ == "__main__":
    main()
