"""Files and parts of them: on a disk, by http from a server with moods, by fsspec; forked, too."""

import multiprocessing
import os
import socket
import ssl
import sys

import fsspec
import pytest
import urllib3
from shard_files import serve_folder

from uniformer_video.errors import AbsentError, ConfigError, DataError, MissingLibraryError
from uniformer_video.storage import address, http, places

DATA = bytes(range(256)) * 8


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A server of a folder with `a.bin`; it is asked three times at most, and at once."""
    monkeypatch.setattr(http, "_REPEATS", 2)
    monkeypatch.setattr(http, "_BACKOFF_SECONDS", 0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "a.bin").write_bytes(DATA)
    with serve_folder(tmp_path) as server:
        yield server


@pytest.fixture(params=["disk", "http", "memory", "file"])
def place(request, tmp_path):
    """A place of `a.bin` of each kind."""
    if request.param == "http":
        return request.getfixturevalue("served").address + "/a.bin"
    (tmp_path / "a.bin").write_bytes(DATA)
    if request.param == "memory":
        fsspec.filesystem("memory").pipe_file("/here/a.bin", DATA)
        return "memory://here/a.bin"
    return str(tmp_path / "a.bin") if request.param == "disk" else f"file://{tmp_path}/a.bin"


def test_every_place_gives_the_same_bytes(place):
    assert places.read_bytes(place) == DATA
    assert places.size_of(place) == len(DATA)
    for start, length in ((0, 1), (5, 1000), (len(DATA) - 1, 1), (0, len(DATA))):
        assert places.read_range(place, start, length) == DATA[start : start + length]
    assert places.is_file(place)


def test_every_place_tells_what_is_cut_off_and_what_is_not_there(place):
    for start in (len(DATA) - 3, len(DATA), len(DATA) + 9):
        with pytest.raises(
            DataError, match=rf"a\.bin is cut off: .* before byte {start + 10}; get"
        ):
            places.read_range(place, start, 10)
    with pytest.raises(DataError, match="is cut off" if "file:" not in place else "a.bin"):
        places.read_range(place, 7, 1 << 60)  # no memory for that is asked for
    absent = place.replace("a.bin", "b.bin")
    assert not places.is_file(absent)
    for action in (places.read_bytes, places.size_of):
        with pytest.raises(AbsentError, match=r"b\.bin does not exist"):
            action(absent)


def test_names_of_files_are_joined_as_each_kind_wants():
    assert address.join("/data/x", "a b", "c#.tar") == os.path.join("/data/x", "a b", "c#.tar")
    assert address.join("https://h/x/", "a b", "c#.tar") == "https://h/x/a%20b/c%23.tar"
    assert address.join("s3://bucket/x", "a b", "c#.tar") == "s3://bucket/x/a b/c#.tar"


def test_secrets_are_refused_and_never_shown():
    for given in (
        "https://me:hidden@host/x",
        "https://hidden@host/x",
        "https://host/x?token=hidden",
        "ftp://me:hid@den@host/x",
    ):
        with pytest.raises(ConfigError, match=r"HERE .*host/x carries a password") as caught:
            address.check_no_secret(given, "HERE")
        assert "hid" not in str(caught.value)
        assert "hid" not in address.name_for_messages(given)
    for given in ("https://host/x", "s3://bucket/x?y", "sftp://me@host/x"):
        address.check_no_secret(given, "HERE")
    assert address.name_for_messages("/a/b?c") == "/a/b?c"


def test_one_connection_serves_many_requests(served):
    for start in range(20):
        places.read_range(f"{served.address}/a.bin", start, 7)
    places.read_bytes(f"{served.address}/a.bin")
    places.is_file(f"{served.address}/none")
    places.read_range(f"{served.address}/a.bin", 3, 7)
    assert served.connections <= 2  # a refusal closes its own


@pytest.mark.parametrize("fault", [408, 429, 500, 503, "cut", "drop"])
@pytest.mark.parametrize("whole", [False, True])
def test_what_may_pass_is_tried_again(served, fault, whole):
    url = f"{served.address}/a.bin"
    served.faults["/a.bin"] = [fault, fault]
    data = places.read_bytes(url) if whole else places.read_range(url, 10, 900)
    assert data == (DATA if whole else DATA[10:910])
    assert len(served.asked) == 3


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (503, "status 503; try again later"),
        ("cut", "the connection broke off"),
    ],
)
def test_what_does_not_pass_is_named_after_the_last_attempt(served, fault, text):
    served.faults["/a.bin"] = [fault] * 9
    with pytest.raises(DataError, match=rf"cannot read {served.address}/a\.bin, 3 times: .*{text}"):
        places.read_range(f"{served.address}/a.bin", 0, 100)
    assert len(served.asked) == 3


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("no range", "knows no range requests"),
        ("shift", "sends bytes 11 to 109; asked for were 100 from 10 on"),
        (404, r"does not exist \(status 404\)"),
        (403, r"is refused by its server \(status 403\)"),
        (418, "status 418"),
    ],
)
def test_what_will_not_pass_is_asked_once(served, fault, text):
    served.faults["/a.bin"] = [fault] * 9
    with pytest.raises(DataError, match=text) as caught:
        places.read_range(f"{served.address}/a.bin?token=hidden", 10, 100)
    assert "hidden" not in str(caught.value)
    assert len(served.asked) == 1


def test_a_whole_file_in_place_of_a_part_is_not_downloaded(served, tmp_path):
    with open(tmp_path / "huge.tar", "wb") as file:
        file.truncate(64 << 20)
    served.faults["/huge.tar"] = ["no range"]
    with pytest.raises(DataError, match=r"huge\.tar knows no range requests"):
        places.read_range(f"{served.address}/huge.tar", 5, 10)


def test_redirects_are_followed_and_never_to_where_anyone_can_read_along(served):
    other = f"{served.address}/a.bin"
    served.faults["/moved"] = [other]
    assert places.read_range(f"{served.address}/moved", 1, 3) == DATA[1:4]
    served.faults["/round"] = [f"{served.address}/round"] * 20
    with pytest.raises(DataError, match="leads on to other addresses more than 5 times"):
        places.read_bytes(f"{served.address}/round")
    served.faults["/file"] = ["file:///etc/passwd"]
    with pytest.raises(DataError, match="passwd, which is not encrypted; it is not followed"):
        places.read_bytes(f"{served.address}/file")


def test_no_redirect_from_https_to_http(monkeypatch):
    """In place of a server with a certificate: an answer of one."""

    def answer(*arguments, **options):
        return urllib3.HTTPResponse(
            headers={"Location": "http://host/y?token=hidden"}, status=302, retries=urllib3.Retry()
        )

    monkeypatch.setattr(urllib3.HTTPSConnectionPool, "urlopen", answer)
    with pytest.raises(DataError, match="not encrypted; it is not followed") as caught:
        places.read_bytes("https://host/x?token=hidden")
    assert "hidden" not in str(caught.value)


def test_servers_that_cannot_be_reached(served):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.bin"
        with pytest.raises(DataError, match="3 times: the server refuses connections"):
            places.read_bytes(url)
    with pytest.raises(DataError, match="is not an address"):
        places.read_bytes("http://host:port/a")


def test_a_bad_certificate_is_final(monkeypatch):
    asked = []

    def refuse(connection):
        asked.append(connection.host)
        error = ssl.SSLCertVerificationError()
        error.verify_message = "self-signed certificate"
        raise error

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(urllib3.connection.HTTPSConnection, "connect", refuse)
    with pytest.raises(DataError, match=r"cannot read https://h/x: .*\(self-signed certificate\)"):
        places.read_bytes("https://h/x")
    assert asked == ["h"]


@pytest.mark.parametrize(
    ("answers", "slept"),
    [
        (["7"], [7]),
        (["9999"], [http._LONGEST_PAUSE]),
        (["Fri, 01 Jan 2100 00:00:00 GMT"], [http._LONGEST_PAUSE]),
        (["soon"], []),  # no time: the first repeat comes at once
    ],
)
def test_a_busy_server_is_given_the_time_it_asks_for(served, monkeypatch, answers, slept):
    pauses = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", pauses.append)
    served.faults["/a.bin"] = [{"Retry-After": answer} for answer in answers]
    assert places.read_range(f"{served.address}/a.bin", 0, 9) == DATA[:9]
    assert pauses == slept


def test_what_breaks_off_goes_on_where_it_broke_off(served, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "_BLOCK_BYTES", 1 << 10)
    data = bytes(range(251)) * 80  # 20 kB
    (tmp_path / "b.bin").write_bytes(data)
    url = f"{served.address}/b.bin"
    served.faults["/b.bin"] = ["cut"] * 4  # more than repeats: each brings some of it
    assert places.read_bytes(url) == data
    starts = [int(wanted[6:].partition("-")[0]) for _, wanted in served.asked[1:]]
    assert starts == sorted(set(starts)) and len(starts) == 4 and starts[0] >= 9 << 10
    served.asked.clear()
    served.faults["/b.bin"] = ["cut", "no range"]  # then what is known is left out
    assert places.read_bytes(url) == data
    served.faults["/b.bin"] = ["cut"]
    assert places.read_range(url, 100, 19_000) == data[100:19_100]
    assert served.asked[-1][1].endswith("-19099")


def test_the_rest_of_another_file_is_not_put_behind_what_came(served, tmp_path, monkeypatch):
    monkeypatch.setattr(http, "_BLOCK_BYTES", 1 << 10)
    path = tmp_path / "b.bin"
    path.write_bytes(bytes(20_000))
    served.faults["/b.bin"] = ["cut"]
    with (
        pytest.raises(DataError, match=r"b\.bin changed on its server while it came; try again"),
        http.open_stream(f"{served.address}/b.bin") as stream,
    ):
        for _ in stream:
            path.write_bytes(bytes(20_001))


def test_no_token_is_written_into_the_log(served, caplog):
    served.faults["/a.bin"] = [503, "drop"]
    with caplog.at_level("INFO"):
        places.read_bytes(f"{served.address}/a.bin?token=hidden")
    assert "hidden" not in caplog.text


def test_a_silent_server_is_given_up(monkeypatch, served):
    monkeypatch.setattr(http, "TIMEOUT_SECONDS", 0.1)
    http._connections.cache_clear()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.bin"
        with pytest.raises(DataError, match=r"3 times: no answer for 0\.1 seconds"):
            places.read_bytes(url)
    http._connections.cache_clear()


def test_a_proxy_of_the_environment_is_used(served, monkeypatch):
    monkeypatch.setenv("http_proxy", served.address.replace("//", "//me:secret@"))
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(AbsentError, match=r"http://shards\.example/a\.bin does not exist"):
        places.read_bytes("http://shards.example/a.bin")
    assert served.asked == [("http://shards.example/a.bin", "")]
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert places.read_bytes(f"{served.address}/a.bin") == DATA


def _read(place):
    return places.read_range(place, 100, 50)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_other_processes_read_after_this_one_did(place, start):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {start} on this platform")
    if start == "spawn" and place.startswith("memory"):
        pytest.skip("memory is not shared with spawned processes")
    assert _read(place) == DATA[100:150]
    with multiprocessing.get_context(start).Pool(2) as pool:
        assert pool.map_async(_read, [place] * 8).get(timeout=60) == [DATA[100:150]] * 8
    assert _read(place) == DATA[100:150]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
def test_asynchronous_file_systems_survive_a_fork(tmp_path):
    """As those of object stores are: a loop in a thread, which a forked process does not have."""
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
    from fsspec.implementations.local import LocalFileSystem

    class Slow(AsyncFileSystemWrapper):
        protocol = "slow"

        def __init__(self, *args, **options):
            super().__init__(LocalFileSystem(), asynchronous=False)

        @classmethod
        def _strip_protocol(cls, path):
            return path.removeprefix("slow://")

    fsspec.register_implementation("slow", Slow, clobber=True)
    (tmp_path / "a.bin").write_bytes(DATA)
    place = f"slow://{tmp_path}/a.bin"
    assert places.size_of(place) == len(DATA)
    assert _read(place) == DATA[100:150]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(_read, [place] * 4).get(timeout=60) == [DATA[100:150]] * 4


def test_libraries_that_are_missing_are_named(monkeypatch):
    class Lacking(fsspec.AbstractFileSystem):
        def __init__(self, *args, **options):
            raise ImportError("Install s3fs to access S3")

    fsspec.register_implementation("lacking", Lacking, clobber=True)
    with pytest.raises(MissingLibraryError, match=r"lacking://b/x needs .*: Install s3fs"):
        places.read_bytes("lacking://b/x")
    with pytest.raises(DataError, match=r"cannot read nosuch://b/x: .*nosuch"):
        places.read_bytes("nosuch://b/x")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingLibraryError, match=r'pip install "uniformer-video\[remote\]"'):
        places.read_bytes("memory://x")


def test_what_is_no_readable_file(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*: Is a directory"):
        places.read_bytes(str(tmp_path))
    with pytest.raises(AbsentError, match="does not exist"):
        places.size_of(str(tmp_path))
    with pytest.raises(AbsentError, match="is a folder"):
        places.size_of(f"file://{tmp_path}")
