"""Work on a graphics card beside the optimizer's, which fills torch's default stream: there a picture would wait for a whole step."""

import contextlib
from collections.abc import Iterator

import torch

URGENT = -1
"""torch's number for a stream whose work is begun before what waits in others: a picture takes milliseconds, a step many."""


class OwnStream:
    """A stream for one thread; on a device that has none, nothing."""

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream | None = None

    @contextlib.contextmanager
    def on(self, device: torch.device, *, finished: bool) -> Iterator[None]:
        """What torch does inside runs here, and is done when this ends, so that what was read may be freed.

        Where what will be read is not ``finished``, what the default stream has been given so far is waited for, on the card.
        """
        if device.type != "cuda":
            yield
            return
        if self._stream is None or self._stream.device != device:
            self._stream = torch.cuda.Stream(device, priority=URGENT)
        if not finished:
            self._stream.wait_stream(torch.cuda.default_stream(device))
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            self._stream.synchronize()
