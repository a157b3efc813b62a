"""What happens in a session, as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from cryosam.ui.session import Session

__all__ = ["stream"]

_HEARTBEAT = 15.0  # seconds; a connection that is gone is noticed when something is sent


async def stream(session: Session) -> AsyncIterator[str]:
    """Events until the listener goes; a session that has a job under way tells of it at once."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[str]()

    def listen(event: str, content: dict[str, Any]) -> None:
        text = _format(event, content)
        if not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, text)

    stop = session.subscribe(listen)
    try:
        yield _format("session", {"revision": session.revision})
        while True:
            try:
                yield await asyncio.wait_for(queue.get(), _HEARTBEAT)
            except TimeoutError:
                yield ": still here\n\n"
    finally:
        stop()


def _format(event: str, content: dict[str, Any]) -> str:
    return f"event: {event}\ndata: {json.dumps(content)}\n\n"
