"""The floor of an HTTP server in Python: asyncio, no parsing beyond a request's end, one fixed answer.

python -m bench.bare_http PORT
"""

from __future__ import annotations

import asyncio
import sys

BODY = b'{"commands": [], "inbox": 1795458132803, "next_heartbeat_in": 5}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


class Responder(asyncio.Protocol):
    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each complete request; its Content-Length is the one header that is read."""
        self._received += data
        while (head := self._received.find(b"\r\n\r\n")) >= 0:
            _, _, after = self._received[:head].partition(b"Content-Length: ")
            length = head + 4 + int(after.partition(b"\r\n")[0] or 0)
            if len(self._received) < length:
                return
            self._received = self._received[length:]
            self._transport.write(ANSWER)


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Responder, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
