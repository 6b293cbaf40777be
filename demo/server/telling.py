"""How an endpoint refuses, and what it tells of errors."""

import functools

import gradio as gr

from demo.languages.translate import speaking
from demo.visit import asking
from valm_core.outputs import InputError, UnknownAnswer


def check(fits: bool, message: str) -> None:
    """Refuse what an endpoint was sent, unless it fits. Raises InputError."""
    if not fits:
        raise InputError(message)


def tell_errors(endpoint):
    """The endpoint with its errors as gr.Error: an input's own text, or that it is our fault; never a traceback."""

    @functools.wraps(endpoint)
    def with_message(*arguments, **named):
        try:
            return endpoint(*arguments, **named)
        except Exception as error:
            refused = _refusal(error)
        raise refused

    return with_message


def tell_errors_between(endpoint):
    """``tell_errors`` of an endpoint that gives one reply after the other."""

    @functools.wraps(endpoint)
    def with_message(*arguments, **named):
        try:
            yield from endpoint(*arguments, **named)
            return
        except Exception as error:
            refused = _refusal(error)
        raise refused

    return with_message


def _refusal(error: Exception) -> gr.Error:
    if isinstance(error, UnknownAnswer):
        message = str(error)
    else:
        with speaking("en"):  # as the API's documentation is
            message = asking.message_for(error)
    return gr.Error(message, print_exception=False)
