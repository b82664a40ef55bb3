"""Files and parts of files by http, over connections that are kept open.

A part is asked for as a range (RFC 9110, section 14); a server that answers with the whole file is
refused before that comes. What may pass is tried again: urllib3's `Retry` repeats requests that meet lost
connections, silence, and the statuses by which servers say that they are busy; `Stream` asks for the rest
of an answer that breaks off, and that counts among the same repeats.
"""

import contextlib
import logging
import math
import os
import re
import ssl
import urllib.parse
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from types import TracebackType

import urllib3
from urllib3 import exceptions

from uniformer_video import __version__
from uniformer_video.errors import AbsentError, DataError
from uniformer_video.storage.address import name_for_messages
from uniformer_video.storage.failures import explain_failure

TIMEOUT_SECONDS = 30  # without a single byte
CONNECTIONS = 16  # at once to a host
_REPEATS = 4  # of a request that fails
_BACKOFF_SECONDS = 0.5  # the first repeat comes at once, the next after 2 of these, then 4, 8
_LONGEST_PAUSE = 60  # seconds, where the server itself says how long to wait
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_MAX_REDIRECTS = 5
_BLOCK_BYTES = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")

# Its warnings of requests that it repeats would show addresses with the tokens in them.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)


def size_of(url: str) -> float:
    """Bytes of a file, `math.inf` where the server does not tell; raises as `storage.places.size_of` does."""
    with open_stream(url, 0, 1) as stream:
        for _ in stream:  # what is read to its end leaves the connection to others
            pass
        return stream.size


def read(url: str, start: int, length: int | None) -> bytes:
    """Bytes from `start` on, fewer than `length` at the end of the file; length None = the whole file."""
    with open_stream(url, start, length) as stream:
        return b"".join(stream)


@contextlib.contextmanager
def open_stream(
    url: str,
    start: int = 0,
    length: int | None = None,
    check_redirect: Callable[[str], None] | None = None,
) -> Iterator["Stream"]:
    """The blocks of bytes of a file, as they come: of all of it, or of `length` bytes from `start` on.

    To be iterated over once. `size` is that of the whole file in bytes, `math.inf` where the server does
    not tell, and `content_type` what it takes the file for, such as "text/html". `check_redirect` is
    called with each address that the given one leads on to, and raises for one not to be followed.

    Raises `AbsentError` where there is no such file and `DataError` for whatever else goes wrong, while
    the blocks come, too.
    """
    stream = Stream(url, start, length, check_redirect)
    try:
        stream.ask()
        yield stream
    finally:
        stream.close()


class Stream:
    """See `open_stream`. An answer that breaks off is followed by a request for the rest."""

    def __init__(
        self,
        url: str,
        start: int,
        length: int | None,
        check_redirect: Callable[[str], None] | None,
    ):
        self.size, self.content_type = math.inf, ""
        self._url, self._check_redirect = url, check_redirect
        self._is_part = length is not None
        self._start = self._next = start  # the byte of the file that comes next
        self._end = math.inf if length is None else start + length
        self._known = 0  # bytes that an answer begins with and that came before
        self._version: tuple[float, str | None] | None = None
        self._response: urllib3.BaseHTTPResponse | None = None
        self._retries: urllib3.Retry = _first_attempt()

    def __iter__(self) -> Iterator[bytes]:
        while self._next < self._end:
            before = self._next
            failure: exceptions.HTTPError | None = None
            try:
                yield from self._blocks()
            except exceptions.HTTPError as error:
                failure = error
            if failure is None:
                if self._next == self._end or self._end == math.inf:
                    return
                lacking = int(self._end) - self._next
                failure = exceptions.IncompleteRead(self._next - before, lacking)
            self._ask_again(failure, self._next - before)

    def ask(self) -> None:
        """Ask for what is lacking, and read the head of the answer."""
        headers = {}
        if self._is_part or self._next > self._start:
            last = "" if self._end == math.inf else self._end - 1
            headers["Range"] = f"bytes={self._next}-{last}"
        with _network_errors(self._url):
            response = _follow(self._url, headers, self._retries, self._check_redirect)
        self._response = response
        if response.retries is not None:  # what is left of those that it was given
            self._retries = response.retries
        _check_status(self._url, response, (200, 206, 416) if headers else (200,))
        if response.status == 200:
            self._expect_all(response)
        else:
            self._expect_part(response)

    def close(self) -> None:
        """Let the connection go; where an answer was read to its end, others have it already."""
        if self._response is not None:
            self._response.close()

    def _blocks(self) -> Iterator[bytes]:
        assert self._response is not None  # asked for before anybody iterates
        for block in self._response.stream(_BLOCK_BYTES):
            new = block[self._known :]
            self._known -= len(block) - len(new)
            if self._next + len(new) > self._end:
                raise exceptions.ProtocolError("more bytes came than its length says")
            self._next += len(new)
            if new:
                yield new

    def _ask_again(self, failure: exceptions.HTTPError, came: int) -> None:
        """Ask for the rest, after a pause; raises where the repeats are used up."""
        self.close()
        if came >= _BLOCK_BYTES:  # however often it breaks off, it gets on
            self._retries = _first_attempt()
        with _network_errors(self._url):
            self._retries = self._retries.increment("GET", self._url, error=failure)
        self._retries.sleep()
        self.ask()

    def _expect_all(self, response: urllib3.BaseHTTPResponse) -> None:
        if self._is_part:
            raise DataError(
                f"the server of {name_for_messages(self._url)} knows no range requests: it sends the whole "
                "file where a part is asked for; use one that does, such as nginx or an object store, or "
                "copy the files to a disk"
            )
        self._note_file(response, _size(response.headers.get("Content-Length", "")))
        self._end, self._known = self.size, self._next

    def _expect_part(self, response: urllib3.BaseHTTPResponse) -> None:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        first, last, size = match.groups() if match else (None, None, "*")
        self._note_file(response, _size(size))
        if response.status == 416 and self._next == self._start:
            self._end = self._start  # the file ends before
            return
        end = min(self._end, self.size)
        if (first, last) != (str(self._next), str(end - 1)):
            raise DataError(
                f"the server of {name_for_messages(self._url)} sends bytes {first} to {last}; asked for "
                f"were {self._end - self._next} from {self._next} on"
            )
        self._end, self._known = end, 0

    def _note_file(self, response: urllib3.BaseHTTPResponse, size: float) -> None:
        """Take in what is told of the file; the rest of another one is not put behind what came."""
        told = response.headers
        self.content_type = told.get("Content-Type", "").partition(";")[0].strip().lower()
        # The parts of a file are asked for one by one, of whatever servers share its address and give it
        # tags of their own, so that the halves of a part may differ in them, too.
        tag = None if self._is_part else told.get("ETag", told.get("Last-Modified"))
        if self._version not in (None, (size, tag)):
            raise DataError(
                f"{name_for_messages(self._url)} changed on its server while it came; try again"
            )
        self.size, self._version = size, (size, tag)


class _Retry(urllib3.Retry):
    """Repeats no request that meets a bad certificate, and waits as long as servers ask, within reason."""

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: urllib3.BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: urllib3.connectionpool.ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> "_Retry":
        if error is not None and isinstance(_root(error), ssl.SSLCertVerificationError):
            raise error
        return super().increment(method, url, response, error, _pool, _stacktrace)

    def parse_retry_after(self, retry_after: str) -> float:
        try:
            return min(super().parse_retry_after(retry_after), _LONGEST_PAUSE)
        except (exceptions.InvalidHeader, ValueError, OverflowError):
            return 0


def _first_attempt() -> _Retry:
    return _Retry(
        _REPEATS,
        status_forcelist=_BUSY,
        raise_on_status=False,
        backoff_factor=_BACKOFF_SECONDS,
        backoff_jitter=_BACKOFF_SECONDS,  # workers that failed together come back one by one
    )


@contextlib.contextmanager
def _network_errors(url: str) -> Iterator[None]:
    """What urllib3 raises, as a `DataError`."""
    try:
        yield
    except (exceptions.LocationValueError, UnicodeError) as error:
        raise DataError(f"{name_for_messages(url)} is not an address: {error}") from None
    except exceptions.HTTPError as error:
        times = _times() if isinstance(error, exceptions.MaxRetryError) else ""
        text = explain_failure(_root(error), TIMEOUT_SECONDS)
        raise DataError(f"cannot read {name_for_messages(url)}{times}: {text}") from None


def _root(error: Exception) -> Exception:
    """The error of a socket below those of urllib3, with its own for timeouts as Python's."""
    while isinstance(error, exceptions.HTTPError):
        if isinstance(error, exceptions.TimeoutError) and not isinstance(
            error, exceptions.NewConnectionError
        ):
            return TimeoutError()
        parts = (error.__cause__, error.__context__, *error.args)
        below = [part for part in parts if isinstance(part, Exception)]
        if not below:
            break
        error = below[0]
    return error


def _times() -> str:
    return f", {_REPEATS + 1} times"


def _follow(
    url: str,
    headers: Mapping[str, str],
    retries: urllib3.Retry | None,
    check_redirect: Callable[[str], None] | None,
) -> urllib3.BaseHTTPResponse:
    """The answer where redirects end; none is followed from https to http."""
    address = url
    for _ in range(_MAX_REDIRECTS + 1):
        # Redirects may lead past a proxy, or to one, so each address is asked by itself.
        response = _connections(os.getpid(), *_proxy(address)).request(
            "GET",
            address,
            headers={"User-Agent": f"uniformer-video/{__version__}", **headers},
            preload_content=False,
            decode_content=False,
            redirect=False,
            retries=retries,
        )
        target = response.get_redirect_location()
        if not target:
            return response
        retries = response.retries
        response.close()
        address = _next_address(address, target)
        if check_redirect:
            check_redirect(address)
    raise DataError(
        f"{name_for_messages(url)} leads on to other addresses more than {_MAX_REDIRECTS} times"
    )


def _next_address(address: str, target: str) -> str:
    try:
        following = urllib.parse.urljoin(address, target)
    except ValueError as error:
        raise DataError(f"{name_for_messages(address)} leads on to no address: {error}") from None
    before, after = (urllib.parse.urlsplit(url).scheme for url in (address, following))
    if after != "https" and (before, after) != ("http", "http"):
        raise DataError(
            f"{name_for_messages(address)} leads on to {name_for_messages(following)}, which is not "
            "encrypted; it is not followed"
        )
    return following


def _check_status(url: str, response: urllib3.BaseHTTPResponse, expected: Collection[int]) -> None:
    status, name = response.status, name_for_messages(url)
    if status in expected:
        return
    if status in (404, 410):
        raise AbsentError(f"{name} does not exist (status {status})")
    if status in (401, 403):
        raise AbsentError(
            f"{name} is refused by its server (status {status}), which asks for a login, or answers "
            "so for what is not there"
        )
    answered = f"the server answered with status {status}"
    if status in _BUSY:
        raise DataError(f"cannot read {name}{_times()}: {answered}; try again later")
    raise DataError(f"cannot read {name}: {answered}")


def _proxy(url: str) -> tuple[str, ...]:
    """The address of the proxy that the environment names for `url`, if any, as a tuple."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    return (proxy,) if proxy and not urllib.request.proxy_bypass(parts.hostname or "") else ()


@lru_cache(maxsize=4)
def _connections(process: int, proxy: str | None = None) -> urllib3.PoolManager:
    """The open connections of a process; a forked one must not use those of its parent."""
    timeout = urllib3.Timeout(TIMEOUT_SECONDS)
    if proxy is None:
        return urllib3.PoolManager(maxsize=CONNECTIONS, timeout=timeout)
    address = urllib3.util.parse_url(proxy)
    login = urllib3.make_headers(proxy_basic_auth=urllib.parse.unquote(address.auth or "")) or None
    return urllib3.ProxyManager(proxy, proxy_headers=login, maxsize=CONNECTIONS, timeout=timeout)


def _size(digits: str) -> float:
    """A size in bytes as a server tells it; infinite for none, and for more than any file has."""
    return int(digits) if digits.isdecimal() and len(digits) < 20 else math.inf
