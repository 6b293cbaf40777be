"""Serving the page: `python app.py` and `valm-demo`. Loads a checkpoint, builds the page, launches it.

Example:
    GRADIO_SERVER_PORT=7861 VALM_CHECKPOINT=runs/mine/checkpoint python -m demo.serve
"""

import argparse
import os
import sys

from demo import checkpoint_folder
from demo.stopping import own_upload_folder, serve_until_stopped

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def main(arguments: list[str] | None = None) -> None:
    """Serve the page on 127.0.0.1:7860 (GRADIO_SERVER_NAME, _PORT and GRADIO_ROOT_PATH change that)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", default=checkpoint_folder(), help="model: a folder, or user/model on the hub")
    checkpoint = parser.parse_args(arguments).checkpoint

    uploads = own_upload_folder()
    from demo.interface import build_page, launch_options
    from demo.zero_gpu import lend
    from valm_core.predictor import VqaPredictor

    try:
        predictor = VqaPredictor.from_checkpoint(checkpoint)
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"The VALM checkpoint {checkpoint} can't be used: {error} Set VALM_CHECKPOINT to another.")
    page = build_page(lend(predictor))
    try:
        options = launch_options()  # after the page, whose texts it takes
    except ValueError as error:  # a VALM_... variable of another form
        sys.exit(str(error))
    on_spaces = {"server_name": "0.0.0.0"} if os.environ.get("SPACE_ID") else {}  # noqa: S104, as Spaces ask
    serve_until_stopped(page, uploads, **on_spaces, **options)


if __name__ == "__main__":
    main()
