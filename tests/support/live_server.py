"""Sources of streams: a server whose connections stall and drop, named pipes that a thread writes into."""

import contextlib
import itertools
import os
import socketserver
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LONGEST = 30.0  # seconds that a test waits for what should come at once


@contextlib.contextmanager
def serve_live(*answers):
    """A server that answers each connection by the next of `answers`: functions of (write, ended), numbers
    of errors, or None, which closes it.

    The last one answers all that follow. Gives (address, how many connections there were).
    """
    count, over = itertools.count(), threading.Event()
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.headers.get("Authorization"))
            answer = answers[min(next(count), len(answers) - 1)]
            if answer is None:
                return
            if isinstance(answer, int):
                self.send_error(answer)
                return
            self.send_response(200)
            self.send_header("Content-Type", getattr(answer, "kind", "video/mp2t"))
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


@contextlib.contextmanager
def serve_rtsp(data, plays=1):
    """A camera that sends `data`, mpegts, over RTSP (RFC 2326) in its own connection, then closes it.

    plays: connections that are answered; those that follow are closed at once. Gives (address without the
    scheme, the requests).
    """
    asked = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            number = sum(line.startswith("OPTIONS") for line in asked)
            while number < plays and (line := self.rfile.readline().decode().strip()):
                asked.append(line)
                fields = {}
                while field := self.rfile.readline().decode().strip():
                    key, _, value = field.partition(": ")
                    fields[key] = value
                self.answer(line.split()[0], fields)
                if line.startswith("PLAY"):
                    self.play()
                    return

        def answer(self, method, fields):
            body = ""
            extra = {"DESCRIBE": "Content-Type: application/sdp\r\n"}.get(method, "")
            if method == "DESCRIBE":
                body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=a\r\nt=0 0\r\n"
                body += "m=video 0 RTP/AVP 33\r\na=control:a\r\n"
            if method == "SETUP":
                extra = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            head = f"RTSP/1.0 200 OK\r\nCSeq: {fields['CSeq']}\r\nSession: 1\r\nPublic: SETUP, PLAY\r\n"
            self.wfile.write(f"{head}{extra}Content-Length: {len(body)}\r\n\r\n{body}".encode())

        def play(self):
            size = 7 * 188
            for number in range(-(-len(data) // size)):
                part = data[number * size : (number + 1) * size]
                packet = struct.pack(">BBHII", 0x80, 33, number, number * 3600, 1) + part
                self.wfile.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}/stream", asked
    finally:
        server.shutdown()
        server.server_close()
