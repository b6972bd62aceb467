"""A proxy in front of one broker's listener, which can become a black hole: connections stay open and nothing comes through.

    proxy = Proxy()
    proxy.target = cluster.broker(1).add_listener("PROXIED", "PLAINTEXT", advertised=proxy.port)
    with proxy, cluster: …  clients use cluster.bootstrap_of("PROXIED")

What was on its way is held and not lost, as TCP would send it again.
"""

import asyncio
import socket
import threading

CHUNK_BYTES = 64 * 1024


class Proxy:
    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.target = None  # a port of this machine, known before the block is entered
        self.loop = asyncio.new_event_loop()
        self.ended, self.passes = asyncio.Event(), asyncio.Event()
        self.passes.set()

    def __enter__(self):
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self.serve(),))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.ended.set)
        self.thread.join()
        self.loop.close()

    def swallow(self):
        """From now on nothing comes through."""
        self.loop.call_soon_threadsafe(self.passes.clear)

    def let_through(self):
        self.loop.call_soon_threadsafe(self.passes.set)

    async def serve(self):
        server = await asyncio.start_server(self.connect, sock=self.socket)
        await self.ended.wait()
        server.close()
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def connect(self, client_reader, client_writer):
        try:
            broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:  # the broker is down: so are we
            client_writer.close()
            return
        await asyncio.gather(self.pump(client_reader, broker_writer), self.pump(broker_reader, client_writer))

    async def pump(self, reader, writer):
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                await self.passes.wait()
                writer.write(chunk)
                await writer.drain()
        except OSError:  # one side has gone, which the other is told by the close
            pass
        finally:
            writer.close()
