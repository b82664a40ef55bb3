"""Sources of streams: a server whose connections stall and drop, named pipes that a thread writes into."""

import contextlib
import itertools
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LONGEST = 30.0  # seconds that a test waits for what should come at once


@contextlib.contextmanager
def serve_live(*answers):
    """A server that answers each connection by the next of `answers`, functions of (write, ended).

    The last one answers all that follow. Gives (address, how many connections there were).
    """
    count, over = itertools.count(), threading.Event()
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers.get("Authorization"))
            answer = answers[min(next(count), len(answers) - 1)]
            if isinstance(answer, int):
                self.send_error(answer)
                return
            self.send_response(200)
            self.send_header("Content-Type", "video/mp2t")
            self.end_headers()
            with contextlib.suppress(OSError):
                answer(self.wfile.write, over)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}/live.ts", asked
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def drop_after(data):
    """Send and close the connection."""
    return lambda write, over: write(data)


def stall_after(data):
    """Send, and then nothing, with the connection open."""

    def answer(write, over):
        write(data)
        over.wait(LONGEST)

    return answer


class Written:
    """A named pipe that a thread writes frames into, coded by PyAV as they come."""

    def __init__(self, path, write):
        os.mkfifo(path)
        self.path = str(path)
        self._thread = threading.Thread(target=self._run, args=(write,), daemon=True)
        self._thread.start()

    def _run(self, write):
        with contextlib.suppress(OSError), open(self.path, "wb") as pipe:
            write(pipe)
