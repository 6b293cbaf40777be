"""What all of the page says alike: shares, names of methods, messages, pictures in an address."""

from __future__ import annotations

import base64
import io
from textwrap import shorten
from typing import TYPE_CHECKING

from markupsafe import Markup, escape
from PIL import Image

from demo.languages.translate import say, translated

if TYPE_CHECKING:
    import numpy as np


def percent(share: float) -> str:
    """A share in 0..1 for people, as HTML: 62 %, 0.7 %, below 0.1 %."""
    if 0 < share < 0.001:
        return Markup("&lt; 0.1 %")
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def strong(text: str) -> Markup:
    """A text in bold."""
    return Markup("<strong>{}</strong>").format(text)


def exact_percent(share: float) -> str:
    """A probability with the digits that tell it from another with 1.3 times its odds: 62%, 97.4%, 0.23%."""
    away = min(share, 1 - share)
    decimals = 0 if away >= 0.0995 else 1 if away >= 0.00995 else 2
    return f"{share:.{decimals}%}"


def short_answer(text: str) -> str:
    """An answer in 80 characters at most: models that write may answer with a page."""
    return shorten(text, 80, placeholder="…")


def method_name(method: str) -> str:
    """An explanation method's name for people."""
    return say(method.replace("_", " "))


def hundredths(shares: np.ndarray) -> str:
    """Numbers as hundredths of the largest, for selection.js."""
    return ",".join(str(round(100 * float(share))) for share in shares.ravel() / max(float(shares.max()), 1e-9))


def notice_html(message: str) -> str:
    """A message for the person in their language, read out by screen readers; nothing for no message."""
    return f'<p class="notice" role="alert">{escape(translated(message))}</p>' if message else ""


def data_address(picture: Image.Image, kind: str = "JPEG") -> str:
    """A picture as an address that holds its content."""
    content = io.BytesIO()
    picture.save(content, kind, quality=85)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"
