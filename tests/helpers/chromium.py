"""The browser that tests and walks drive."""

import shutil

# Without a window's menus, the shell needs a good part less of the processor than the whole browser.
CHROMIUMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = ["--no-sandbox", "--headless", "--disable-gpu", "--disable-background-networking"]


def find_chromium() -> str | None:
    """The first that is installed; None without any."""
    return next(filter(None, map(shutil.which, CHROMIUMS)), None)
