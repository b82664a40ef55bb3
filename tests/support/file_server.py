"""A small HTTP server in a thread that answers as tests want, and notes what was asked."""

import contextlib
import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer:
    """What one path answers: a status, headers and bytes; `promised` is another Content-Length."""

    def __init__(
        self, body=b"", status=200, promised=None, kind="application/octet-stream", **headers
    ):
        self.body, self.status, self.kind = body, status, kind
        self.promised = len(body) if promised is None else promised
        self.headers = {key.replace("_", "-"): value for key, value in headers.items()}


def hub_answer(body):
    """A file as the Hugging Face hub serves it: commit and ETag beside the length."""
    digest = hashlib.sha256(body).hexdigest()
    return Answer(body, X_Repo_Commit=digest[:40], ETag=f'"{digest}"')


def hub_error(status, code):
    """How the hub says what is missing."""
    return Answer(status=status, X_Error_Code=code, X_Error_Message=f"{code} it says")


@contextlib.contextmanager
def serve(answers):
    """`answers` maps paths to `Answer`s. Gives (address of the server, list of "METHOD /path")."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(with_body=True)

        def do_HEAD(self):
            self.answer(with_body=False)

        def answer(self, with_body):
            asked.append(f"{self.command} {self.path}")
            answer = answers.get(self.path.partition("?")[0], Answer(status=404))
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
            self.send_header("Content-Length", str(answer.promised))
            for key, value in answer.headers.items():
                self.send_header(key, value)
            self.end_headers()
            if with_body:
                self.wfile.write(answer.body)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
