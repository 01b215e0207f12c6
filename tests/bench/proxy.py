"""Passes a TCP port on to a Unix socket and back, each way half a millisecond late."""

import asyncio
import sys

HALF = 0.0005


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes go on in their order, each as late as if the way were longer; what is under way does not add up."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(65_536):
        loop.call_later(HALF, writer.write, data)
    loop.call_later(HALF, writer.close)


async def main(port: int, socket: str) -> None:
    """Serve until terminated."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_unix_connection(socket)
        await asyncio.gather(pump(reader, server_writer), pump(server_reader, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
