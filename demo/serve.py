"""Serving the page: `python app.py` and `valm-demo`. Loads a checkpoint, builds the page, launches it.

Example:
    GRADIO_SERVER_PORT=7861 VALM_CHECKPOINT=runs/mine/checkpoint python -m demo.serve
"""

import argparse
import os
import sys
import tempfile

from demo import checkpoint_folder

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


def main(arguments: list[str] | None = None) -> None:
    """Serve the page on 127.0.0.1:7860 (GRADIO_SERVER_NAME, _PORT and GRADIO_ROOT_PATH change that)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=checkpoint_folder(), help="model: a folder, or user/model on the hub")
    checkpoint = parser.parse_args(arguments).checkpoint

    # Its own folder for uploads: gradio empties it at the end, and in the shared one other pages would lose theirs.
    os.environ.setdefault("GRADIO_TEMP_DIR", tempfile.mkdtemp(prefix="valm-"))
    from demo.interface import build_page, launch_options
    from demo.zero_gpu import lend
    from valm_core.predictor import VqaPredictor

    try:
        predictor = VqaPredictor.from_checkpoint(checkpoint)
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"The VALM checkpoint {checkpoint} can't be used: {error} Set VALM_CHECKPOINT to another.")
    on_spaces = {"server_name": "0.0.0.0"} if os.environ.get("SPACE_ID") else {}
    build_page(lend(predictor)).launch(**on_spaces, **launch_options())


if __name__ == "__main__":
    main()
