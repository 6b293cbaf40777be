"""Serving the page: `python app.py` and `valm-demo`. Loads a checkpoint, builds the page, launches it.

Example:
    GRADIO_SERVER_PORT=7861 VALM_CHECKPOINT=runs/mine/checkpoint python -m demo.serve

Settings are environment variables; docs/hosting.md lists them. Exit code 2 where one can't be used.
"""

import argparse
import dataclasses
import os
import sys
from typing import TYPE_CHECKING

from demo.server.shutdown import end_on_signals, own_upload_folder, serve_until_stopped
from demo.server.start_up import bind_address, check_places, free_port, prepare_environment
from demo.settings import SHIPPED_CAPTIONER, Settings, device_beside, read_settings, stop
from valm_core.commands import starting

if TYPE_CHECKING:  # for real it loads torch
    from gradio import Blocks

    from valm_core.captions.captioner import Captioner


def main(arguments: list[str] | None = None) -> None:
    """Serve the page until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="model: a folder, or user/model on the hub; default: VALM_CHECKPOINT")
    chosen = parser.parse_args(arguments).checkpoint

    end_on_signals()
    try:
        settings = read_settings(os.environ)
        check_places(settings)
        port = free_port(settings)
        with own_upload_folder(settings.temp_dir) as uploads:
            prepare_environment(settings)
            serve(dataclasses.replace(settings, checkpoint=chosen) if chosen else settings, port, uploads)
    except (OSError, ValueError, ImportError) as error:
        stop(f"The page can't start: {error}")
    except KeyboardInterrupt:
        print("Stopping.")
        sys.exit(130)


def serve(settings: Settings, port: int, uploads: str | None) -> None:
    """Load the models and serve the page around them; returns only by an exception.

    Raises:
        OSError, ValueError: a checkpoint can't be used, or the page can't be served.
    """
    with starting():
        from demo.page.wiring import launch_options

        page = load_page(settings)
        options = launch_options(settings)  # after the page, whose texts it takes
    serve_until_stopped(page, uploads, server_name=bind_address(settings.address), server_port=port, **options)


def load_page(settings: Settings) -> "Blocks":
    """The page around the models that the settings name. Raises as ``serve``."""
    from demo.page.wiring import build_page
    from demo.server.zero_gpu import lend
    from valm_core.loading import load_predictor

    try:
        predictor = load_predictor(
            settings.checkpoint, prompt=settings.prompt, calibration=settings.calibration or None
        )
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"The checkpoint {settings.checkpoint} can't be used: {error} Set VALM_CHECKPOINT to another."
        ) from error
    captioner = load_captioner(settings.describe_checkpoint)
    collection = None
    if settings.collection:  # last: while its photos are indexed, no other model may be traced (torch.fx)
        from demo.finding.collection import open_collection

        collection = open_collection(settings.collection, settings.collection_index, settings.find_checkpoint)
    more = None
    if settings.more:
        from demo.more.models import open_models

        more = open_models(settings.more)
    return build_page(lend(predictor), settings=settings, captioner=captioner, collection=collection, more=more)


def load_captioner(checkpoint) -> "Captioner | None":
    """What describes photos on the page; None where the shipped checkpoint isn't there and no other is named.

    Raises:
        ValueError: the one that is named can't be used.
    """
    if checkpoint == SHIPPED_CAPTIONER and not SHIPPED_CAPTIONER.is_dir():
        return None
    from valm_core.captions.captioner import Captioner

    try:
        return Captioner.from_checkpoint(checkpoint, device_beside())
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"The checkpoint {checkpoint} can't be used: {error} Set VALM_DESCRIBE_CHECKPOINT to another."
        ) from error


if __name__ == "__main__":
    main()
