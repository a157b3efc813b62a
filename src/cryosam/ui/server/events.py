"""Events of a session as server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from cryosam.ui.session import Session

__all__ = ["stream"]

_HEARTBEAT = 15.0  # seconds; a closed connection is detected only when something is sent


async def stream(session: Session) -> AsyncIterator[str]:
    """Yield events until the listener disconnects or the session ends."""
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[str | None]()

    def listen(event: str, content: dict[str, Any]) -> None:
        text = None if event == "farewell" else _format(event, content)
        if not loop.is_closed():
            loop.call_soon_threadsafe(queue.put_nowait, text)

    stop = session.subscribe(listen)
    try:
        yield _format("session", {"revision": session.revision})
        while True:
            try:
                text = await asyncio.wait_for(queue.get(), _HEARTBEAT)
                if text is None:
                    return
                yield text
            except TimeoutError:
                yield ": still here\n\n"
    finally:
        stop()


def _format(event: str, content: dict[str, Any]) -> str:
    return f"event: {event}\ndata: {json.dumps(content)}\n\n"
