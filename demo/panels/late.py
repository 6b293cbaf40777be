"""What a panel finds out with the model, shown only beside the answer that it is about."""

from collections.abc import Callable

import gradio as gr

from demo.visit.asking import Later


def find_out(trigger: Callable, ask: Callable[..., dict], inputs: list, outputs: list, seconds: float):
    """Wire an event to a question to the model; its outcome is dropped where another answer is on the page by then.

    Args:
        trigger: an event, e.g. ``button.click``.
        ask: takes the values of ``inputs`` and returns updates of ``outputs``.
        inputs: the ``Reply`` on the page first.
        outputs: what shows the outcome; the first one shows the progress too.
        seconds: how long the outcome stays in memory.

    Returns:
        The event that asks, for what cancels it.
    """
    later = gr.State(time_to_live=seconds)

    def asked(current, *wanted) -> Later:
        return Later(current, ask(current, *wanted))

    def show(outcome, current) -> dict:
        return (outcome and outcome.if_still(current)) or {outputs[0]: gr.skip()}

    on_model = {"concurrency_id": "model", "concurrency_limit": 1, "show_progress_on": outputs[0]}
    # "once" would drop what is asked while the question before waits, and an outcome while that before is being shown
    last = {"trigger_mode": "always_last"}
    event = trigger(asked, inputs, later, **last, **on_model)
    event.then(show, [later, inputs[0]], outputs, queue=False, show_progress="hidden", **last)
    return event
