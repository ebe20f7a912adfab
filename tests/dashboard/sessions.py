"""Visitors of the app, each a WebSocket of its own as a browser's tab is, all at the same time."""

import asyncio
import re
from pathlib import Path

import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

PATIENCE = 300.0  # seconds for a page; many are made at once


async def visit(url, page, query):
    """What a visitor of a page is shown: every text, in order, and what was wrong."""
    address = f"{url.replace('http', 'ws', 1)}/_stcore/stream"
    async with websockets.connect(
        address, subprotocols=["streamlit"], max_size=None, open_timeout=PATIENCE
    ) as socket:
        asked = BackMsg()
        asked.rerun_script.query_string, asked.rerun_script.page_name = query, page
        await socket.send(asked.SerializeToString())
        texts, wrong = [], []
        while True:
            message = ForwardMsg.FromString(await asyncio.wait_for(socket.recv(), PATIENCE))
            kind = message.WhichOneof("type")
            if kind == "script_finished":
                if message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY:
                    return texts, wrong
            elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
                element = message.delta.new_element
                what = element.WhichOneof("type")
                if what == "exception":
                    wrong.append(element.exception.message)
                elif what in ("markdown", "heading", "alert", "metric"):
                    texts.append(re.sub(r"\s+", " ", str(getattr(element, what))))


def visits(url, asked):
    """Visit pages all at once.

    Args:
        asked: (page, query) of each visitor.
    """

    async def every():
        return await asyncio.gather(*(visit(url, page, query) for page, query in asked))

    return asyncio.run(every())


def memory_bytes(pid):
    """What a process holds in memory now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)[1])
