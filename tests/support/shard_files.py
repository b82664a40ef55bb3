"""Shards for tests, and a server that sends parts of files."""

import contextlib
import io
import os
import re
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from uniformer_video.data.lists.shard_index import read_index
from uniformer_video.prepare.shards import make_shards
from uniformer_video.storage.members import member_path


def pack(path, files, form=tarfile.USTAR_FORMAT):
    """Write a tar of {name: bytes}; returns what `open_video` takes for each of them."""
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with tarfile.open(path) as tar:
        return [f"{path}#{info.offset_data}+{info.size}" for info in tar]


def shards_of(lists, out, shard_mb=1):
    """Shards of each list of a folder, train.csv and so on, in folders of `out` called after them."""
    for path in sorted(Path(lists).glob("*.csv")):
        make_shards(path, Path(out) / path.stem, shard_mb, workers=1)
    return Path(out)


def first_member(folder):
    """What `open_video` takes for the first video of a folder of shards."""
    entry = next(read_index(folder))
    return member_path(f"{folder}/{entry.shard}", entry)


class Served:
    """What was asked of the server, and what goes wrong.

    faults: path -> list of faults, one for each coming request: a status, or headers of a 503; "drop",
    no answer; "cut", which breaks off inside the body; "shift", another part than asked for; "no range",
    the whole file; a redirect is an address. None answers well; when the list is used up all is well.
    connections: how many were opened; asked: (path, range or "").
    """

    def __init__(self):
        self.address, self.asked, self.connections, self.faults = "", [], 0, {}


@contextlib.contextmanager
def serve_folder(root):
    """Serve the files of a folder by http, with ranges, over kept connections. Gives a `Served`."""
    served = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self):
            served.connections += 1
            super().setup()

        def do_GET(self):
            wanted = self.headers.get("Range", "")
            served.asked.append((self.path, wanted))
            path = self.path.partition("?")[0]
            faults = served.faults.get(path, [])
            fault = faults.pop(0) if faults else None
            file = os.path.join(root, path.lstrip("/"))
            if isinstance(fault, int | dict):
                status, headers = (503, fault) if isinstance(fault, dict) else (fault, {})
                return self.reply(status, b"busy", {"Retry-After": "0", **headers})
            if fault == "drop":
                self.close_connection = True
                return None
            if fault and "://" in fault:
                return self.reply(302, b"", {"Location": fault})
            if not os.path.isfile(file):
                return self.reply(404, b"nothing here")
            data = Path(file).read_bytes()
            if not wanted or fault == "no range":
                return self.reply(200, data, cut=fault == "cut")
            start, end = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", wanted).groups())
            if start >= len(data):
                return self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            start += fault == "shift"
            part = data[start : end + 1]
            span = f"bytes {start}-{start + len(part) - 1}/{len(data)}"
            return self.reply(206, part, {"Content-Range": span}, fault == "cut")

        def reply(self, status, body, headers=None, cut=False):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.end_headers()
            with contextlib.suppress(OSError):  # of a client that has read enough
                self.wfile.write(body[: len(body) // 2] if cut else body)
            if cut:
                self.close_connection = True

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # of a client that went away
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    served.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
