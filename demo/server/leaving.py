"""Visitors who leave, or who take back what they wished for: the model stops soon computing for them.

And what takes long gives way to those who wait for an answer.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from demo.visit.uploads import SealedBlocks
from valm_core.stopping import Stopped, also_stopping_when, stop_if_unwanted, stopping_when

MAX_GIVING_WAY = 20  # seconds

Work = TypeVar("Work")


class StoppingBlocks(SealedBlocks):
    """Blocks whose functions, called through the queue, are told to stop once nobody waits for them.

    Gradio lets a function end that has begun, whoever has left: the model would be busy for nobody. Its queue knows who
    is gone: an event whose connection was closed is no longer ``alive``, one that the page cancels is forgotten.
    """

    async def call_function(
        self, block_fn, processed_input, iterator=None, requests=None, event_id=None, *others, **named
    ):
        """As in gradio, stopped between two steps of the model where the event is unwanted by then."""
        with stopping_when(lambda: event_id is not None and not self.waits(event_id)):
            return await super().call_function(
                block_fn, processed_input, iterator, requests, event_id, *others, **named
            )

    def giving_way(self, lane: str, work: Callable[[], Work]) -> Work:
        """What ``work`` returns, which gives way to events with this ``concurrency_id`` for ``MAX_GIVING_WAY`` at most.

        It begins once none of them waits for its turn or has it, and begins anew where one came meanwhile: a model that
        does one thing at a time would keep it waiting.

        Raises:
            Stopped: nobody waits for it.
        """
        end = time.monotonic() + MAX_GIVING_WAY

        def others_first() -> bool:
            return time.monotonic() < end and self.busy(lane)

        while True:
            while others_first():
                stop_if_unwanted()
                time.sleep(0.02)
            try:
                with also_stopping_when(others_first):
                    return work()
            except Stopped:
                stop_if_unwanted()

    def busy(self, lane: str) -> bool:
        """Whether an event with this ``concurrency_id`` waits for its turn or has it."""
        events = self._queue.event_queue_per_concurrency_id.get(lane)
        return events is not None and bool(events.queue or events.current_concurrency)

    def waits(self, event_id: str) -> bool:
        """Whether somebody still waits for an event of the queue."""
        event = self._queue.event_ids_to_events.get(event_id)
        return event is not None and event.alive
