import errno
import hashlib
import io
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from file_server import Answer, hub_answer, hub_error, serve
from shard_files import serve_folder

from uniformer_video.errors import CheckpointError, MissingLibraryError
from uniformer_video.storage import http
from uniformer_video.storage.address import name_for_messages
from uniformer_video.storage.failures import explain_failure
from uniformer_video.weights import download
from uniformer_video.weights.checkpoint import read_weights
from uniformer_video.weights.download import cache_folder, fetch, is_remote


def torch_bytes(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


BODY = torch_bytes({"model": {"head.weight": torch.ones(3, 2)}})
DIGEST = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Downloads go into a folder of the test's own, past any proxy, and repeats come at once."""
    monkeypatch.setattr(http, "_BACKOFF_SECONDS", 0)
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "cache"


def files_in(folder):
    return [path.name for path in folder.iterdir()] if folder.exists() else []


def test_a_file_is_downloaded_once(cache):
    with serve({"/a/w.pth": Answer(BODY)}) as (host, asked):
        weights = read_weights(f"{host}/a/w.pth?token=secret")
        assert list(weights.state) == ["head.weight"]
        assert weights.path == f"{host}/a/w.pth"
        read_weights(f"{host}/a/w.pth?token=secret")
        assert fetch(f"{host}/a/w.pth?token=secret#sha256={DIGEST.upper()}").read_bytes() == BODY
    assert asked == ["GET /a/w.pth?token=secret"]
    assert [name.partition("-")[2] for name in files_in(cache)] == ["w.pth"]
    assert fetch(f"{host}/a/w.pth?token=secret").exists()  # the server is gone


def test_equal_names_at_two_addresses_stay_apart():
    bodies = [torch_bytes({"weight": torch.full((1,), float(i))}) for i in range(3)]
    paths = ("/a/w.pth", "/b/w.pth", "/%2E%2E%2Fx%00")
    answers = {path: Answer(body) for path, body in zip(paths, bodies, strict=True)}
    with serve(answers) as (host, _):
        found = [fetch(f"{host}{path}").read_bytes() for path in answers]
        assert fetch(f"{host}/%2E%2E%2Fx%00").parent == cache_folder()
    assert found == bodies


def test_the_checksum_is_checked(cache):
    wrong = "0" * 64
    with serve({"/w.pth": Answer(BODY)}) as (host, asked):
        with pytest.raises(CheckpointError, match=f"sha256 is {DIGEST}, the address says {wrong}"):
            fetch(f"{host}/w.pth#sha256={wrong}")
        assert files_in(cache) == []
        fetch(f"{host}/w.pth").write_bytes(b"an older file")
        assert fetch(f"{host}/w.pth#sha256={DIGEST}").read_bytes() == BODY
        assert len(asked) == 3
        with pytest.raises(CheckpointError, match="64 hexadecimal digits, got 'sha256=12'"):
            fetch(f"{host}/w.pth#sha256=12")
        with pytest.raises(CheckpointError, match="got 'md5=12'"):
            fetch(f"{host}/w.pth#md5=12")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(status=404), r"w\.pth does not exist \(status 404\); check the address"),
        (Answer(status=403), r"\(status 403\), which asks for a login.*; .* in a browser"),
        (Answer(status=503), "5 times: the server answered with status 503; try again later"),
        (Answer(status=400), "the server answered with status 400$"),
        (Answer(b"<html>", kind="text/html; charset=utf-8"), "answered with a web page"),
        (Answer(BODY, promised=len(BODY) + 10), "5 times: the connection broke off; try again"),
        (Answer(status=302, Location="/w.pth"), "leads on to other addresses more than 5 times"),
        (Answer(status=302, Location="ftp://host/w.pth"), "not encrypted; it is not followed"),
        (Answer(status=302, Location="http://far.example/w"), "is not encrypted, so anyone"),
        (Answer(status=302, Location="file:///etc/passwd"), "not encrypted; it is not followed"),
    ],
)
def test_answers_that_are_no_file(cache, answer, message):
    with (
        serve({"/w.pth": answer}) as (host, _),
        pytest.raises(CheckpointError, match=message) as error,
    ):
        fetch(f"{host}/w.pth")
    assert "\n" not in str(error.value)
    assert files_in(cache) == []


def test_redirects_are_followed():
    answers = {"/old": Answer(status=301, Location="/new"), "/new": Answer(BODY)}
    with serve(answers) as (host, _):
        assert fetch(f"{host}/old").read_bytes() == BODY


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (socket.gaierror(-2, "unknown"), "its host is not known"),
        (ConnectionRefusedError(), "the server refuses connections"),
        (TimeoutError(), "no answer for 30 seconds"),
        (ConnectionResetError(), "the connection broke off"),
        (OSError(101, "Network is unreachable"), "Network is unreachable"),
    ],
)
def test_failures_of_the_network(monkeypatch, cache, failure, message):
    tried = []

    def fail(*arguments, **options):
        tried.append(arguments)
        raise failure

    monkeypatch.setattr("urllib3.util.connection.create_connection", fail)
    with pytest.raises(
        CheckpointError, match=f"cannot read https://host/w.pth, 5 times: .*{message}"
    ):
        fetch("https://host/w.pth?token=secret")
    assert len(tried) == 5
    assert files_in(cache) == []


def test_a_download_that_breaks_off_goes_on(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "_BLOCK_BYTES", 1 << 10)
    body = torch_bytes({"weight": torch.randn(5000)})
    (tmp_path / "w.pth").write_bytes(body)
    with serve_folder(tmp_path) as served:
        served.faults["/w.pth"] = ["cut", 503, "drop", "cut"]
        digest = hashlib.sha256(body).hexdigest()
        assert fetch(f"{served.address}/w.pth#sha256={digest}").read_bytes() == body
    assert [wanted != "" for _, wanted in served.asked] == [False, True, True, True, True]
    assert len(files_in(cache)) == 1


def test_a_closed_port_and_a_bad_certificate():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(CheckpointError, match="the server refuses connections"):
            fetch(f"http://127.0.0.1:{taken.getsockname()[1]}/w.pth")
    error = ssl.SSLCertVerificationError()
    error.verify_message = "self-signed certificate"
    assert "not valid (self-signed certificate)" in explain_failure(error, 30)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("http://far.example/w.pth", "anyone on the way can exchange the file; use https://, or add #sha256"),
        ("https://user:secret@host/w.pth", "a file on host carries a user name or password"),
        ("https:///w.pth", "not an address"),
        ("https://host:port/w.pth", "not an address"),
        ("https://ho st/w.pth", "not an address"),
        ("hf://owner/w.pth", "hf://owner/repo/file"),
        ("hf://owner/repo@/w.pth", "hf://owner/repo/file"),
    ],
)  # fmt: skip
def test_addresses_that_are_refused(source, message):
    with pytest.raises(CheckpointError, match=message) as error:
        fetch(source)
    assert "secret" not in str(error.value)


def test_an_open_address_with_a_checksum_is_tried(monkeypatch):
    tried = []
    monkeypatch.setattr(download, "_download", lambda address, target: tried.append(address.url))
    fetch(f"http://far.example/w.pth#sha256={DIGEST}")
    fetch("http://[::1]:80/w.pth")
    fetch("http://localhost/w.pth")
    assert tried == ["http://far.example/w.pth", "http://[::1]:80/w.pth", "http://localhost/w.pth"]


def test_what_counts_as_an_address(tmp_path):
    assert is_remote("https://host/w.pth")
    assert is_remote(Path("https://host/w.pth"))
    assert is_remote("hf://owner/repo/w.pth")
    assert not is_remote("C:/w.pth")
    assert not is_remote(tmp_path / "w.pth")
    assert name_for_messages(Path("https://host/w.pth?key=1")) == "https://host/w.pth"
    assert name_for_messages(f"hf://owner/repo/w.pth#sha256={DIGEST}") == "hf://owner/repo/w.pth"
    assert fetch(tmp_path / "w.pth") == tmp_path / "w.pth"


def test_the_cache_folder(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("UNIFORMER_CACHE", "~/mine")
    assert cache_folder() == Path.home() / "mine"
    monkeypatch.delenv("UNIFORMER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "uniformer-video"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "uniformer-video"


def test_two_downloads_at_once_do_not_harm_each_other(cache):
    body = torch_bytes({"weight": torch.randn(3 << 18)})
    with serve({"/w.pth": Answer(body)}) as (host, _):
        code = "import sys; from uniformer_video.weights.download import fetch; fetch(sys.argv[1])"
        other = subprocess.Popen([sys.executable, "-c", code, f"{host}/w.pth"])
        threads = [threading.Thread(target=fetch, args=(f"{host}/w.pth",)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert other.wait() == 0
    assert [path.read_bytes() == body for path in cache.iterdir()] == [True]


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")]
)
def test_an_interrupt_or_a_full_disk_leaves_nothing(cache, monkeypatch, failure):
    class Bar:
        def __init__(self, **options):
            assert options["disable"] is None

        def __enter__(self):
            return self

        def __exit__(self, *arguments):
            pass

        def update(self, count):
            assert len(files_in(cache)) == 1  # half a file
            raise failure

    monkeypatch.setattr(download, "tqdm", Bar)
    with serve({"/w.pth": Answer(BODY)}) as (host, _), pytest.raises(type(failure)):
        fetch(f"{host}/w.pth")
    assert files_in(cache) == []


@pytest.mark.parametrize("body", [b"", BODY[:-100], b"<html>sign in</html>"])
def test_an_unreadable_file_never_enters_the_cache(cache, body):
    answers = {"/w.pth": Answer(body)}
    with serve(answers) as (host, _):
        with pytest.raises(CheckpointError, match=r"127\.0\.0\.1:\d+/w\.pth") as error:
            read_weights(f"{host}/w.pth")
        assert "\n" not in str(error.value)
        assert files_in(cache) == []
        answers["/w.pth"] = Answer(BODY)
        assert list(read_weights(f"{host}/w.pth").state) == ["head.weight"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The settings of huggingface_hub, with a cache of the test's own and without its faster transfer."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between its attempts
    return constants


def test_a_file_of_the_hub(hub, monkeypatch):
    other = torch_bytes({"head.weight": torch.ones(5, 2)})
    answers = {
        "/owner/repo/resolve/main/sub/w.pth": hub_answer(BODY),
        "/owner/repo/resolve/v1.0/sub/w.pth": hub_answer(other),
    }
    with serve(answers) as (host, asked):
        monkeypatch.setenv("HF_ENDPOINT", host)
        weights = read_weights("hf://owner/repo/sub/w.pth")
        assert (weights.path, len(weights.state["head.weight"])) == ("hf://owner/repo/sub/w.pth", 3)
        assert len(read_weights("hf://owner/repo@v1.0/sub/w.pth").state["head.weight"]) == 5
        fetch(f"hf://owner/repo/sub/w.pth#sha256={DIGEST}")
        with pytest.raises(CheckpointError, match=f"its sha256 is {DIGEST}, the address says 000"):
            fetch(f"hf://owner/repo/sub/w.pth#sha256={'0' * 64}")
    assert [line for line in asked if line.startswith("GET")] == [f"GET {path}" for path in answers]
    assert (
        fetch("hf://owner/repo/sub/w.pth").read_bytes() == BODY
    )  # from its cache, without a server


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (hub_error(404, "EntryNotFound"), r"owner/repo has no file w\.pth"),
        (hub_error(404, "RevisionNotFound"), "owner/repo has no revision v2"),
        (hub_error(401, "RepoNotFound"), "there is no repository owner/repo, or it is private"),
        (hub_error(403, "GatedRepo"), "owner/repo is gated: accept its terms"),
        (Answer(BODY), "the hub cannot be reached"),
        (hub_error(500, "Broken"), "the hub cannot be reached"),
    ],
)
def test_refusals_of_the_hub(hub, monkeypatch, answer, message):
    with serve({"/owner/repo/resolve/v2/w.pth": answer}) as (host, _):
        monkeypatch.setenv("HF_ENDPOINT", host)
        expected = f"cannot download hf://owner/repo@v2/w.pth: {message}"
        with pytest.raises(CheckpointError, match=expected) as error:
            fetch("hf://owner/repo@v2/w.pth")
    assert "\n" not in str(error.value)


def test_the_hub_without_a_network(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(CheckpointError, match="the hub cannot be reached"):
        fetch("hf://owner/repo/w.pth")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="the hub cannot be reached"):
        fetch("hf://owner/repo/w.pth")
    with pytest.raises(CheckpointError, match=r"cannot download hf://own er/repo/w.pth: "):
        fetch("hf://own er/repo/w.pth")


def test_the_hub_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingLibraryError, match=r'pip install "uniformer-video\[hub\]"'):
        fetch("hf://owner/repo/w.pth")
