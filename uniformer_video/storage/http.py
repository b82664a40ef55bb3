"""Files and parts of files by http, over connections that are kept open.

A part is asked for as a range (RFC 9110, section 14); a server that answers with the whole file is
refused before that comes. What may pass is tried again: lost connections, silence, answers that break
off, and the statuses by which servers say that they are busy.
"""

import contextlib
import math
import os
import re
import ssl
import time
import urllib.parse
import urllib.request
from functools import lru_cache

import urllib3
from urllib3 import exceptions

from uniformer_video import __version__
from uniformer_video.errors import AbsentError, DataError
from uniformer_video.storage.address import shown
from uniformer_video.storage.failures import explain_failure

TIMEOUT_SECONDS = 30  # without a single byte
CONNECTIONS = 16  # at once to a host
_PAUSES = (0.5, 1.0, 2.0, 4.0)  # seconds before each further attempt
_LONGEST_PAUSE = 60.0  # where the server itself says how long to wait
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_MAX_REDIRECTS = 5
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


class _Passing(Exception):
    """A failure that may pass: its text, and how many seconds the server asks to wait."""

    def __init__(self, text, pause=0.0):
        super().__init__(text)
        self.pause = pause


def size_of(url):
    """Bytes of a file, `math.inf` where the server does not tell; raises as `storage.size_of` does."""
    return _persistently(url, _part, 0, 1)[1]


def read(url, start, length):
    """Bytes from `start` on, fewer than `length` at the end of the file; length None = the whole file."""
    if length is None:
        return _persistently(url, _whole)
    return _persistently(url, _part, start, length)[0]


def _persistently(url, attempt, *span):
    """`attempt(url, *span)`, again after pauses while its failure may pass."""
    for pause in (*_PAUSES, None):
        try:
            return attempt(url, *span)
        except _Passing as failure:
            if pause is None:
                tries = len(_PAUSES) + 1
                raise DataError(f"cannot read {shown(url)}, {tries} times: {failure}") from None
            spread = 1 + os.getpid() % 8 / 8  # workers that failed together come back one by one
            time.sleep(min(max(pause * spread, failure.pause), _LONGEST_PAUSE))


def _whole(url):
    with _answer(url, {}) as response:
        return response.read()


def _part(url, start, length):
    """(bytes of a range, size of the file)."""
    with _answer(url, {"Range": f"bytes={start}-{start + length - 1}"}) as response:
        if response.status == 200:
            raise DataError(
                f"the server of {shown(url)} knows no range requests: it sends the whole file where a "
                "part is asked for; use one that does, such as nginx or an object store, or copy the "
                "files to a disk"
            )
        first, last, size = _content_range(response)
        if response.status == 416:
            return b"", size
        expected = min(length, size - start)
        if (first, last) != (start, start + expected - 1):
            raise DataError(
                f"the server of {shown(url)} sends bytes {first} to {last}; asked for were {length} "
                f"from {start} on"
            )
        body = response.read(expected + 1)
        if len(body) != expected:
            raise _Passing(f"the connection broke off, {len(body)} of {expected} bytes came")
        return body, size


def _content_range(response):
    """(first byte, last byte, size of the file); None and `math.inf` for what is not told."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    first, last, size = match.groups() if match else (None, None, "*")
    return first and int(first), last and int(last), math.inf if size == "*" else int(size)


@contextlib.contextmanager
def _answer(url, headers):
    """The answer to a GET, its body not read yet, with status 200, 206 or 416.

    What goes wrong, while the body is read too, is a `_Passing` or a `DataError`.
    """
    response = None
    try:
        response = _follow(url, headers)
        _check_status(url, response)
        yield response
    except (exceptions.LocationValueError, UnicodeError) as error:
        raise DataError(f"{shown(url)} is not an address: {error}") from None
    except exceptions.HTTPError as error:
        reason = _root(error)
        text = explain_failure(reason, TIMEOUT_SECONDS)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise DataError(f"cannot read {shown(url)}: {text}") from None
        raise _Passing(text) from None
    finally:
        if response is not None:
            response.close()  # one that was read to its end has given its connection back


def _root(error):
    """The error of a socket below one of urllib3, with its own for timeouts as Python's."""
    if isinstance(error, exceptions.TimeoutError) and not isinstance(
        error, exceptions.NewConnectionError
    ):
        return TimeoutError()
    return error.__cause__ or error.__context__ or error


def _follow(url, headers):
    """The answer where redirects end; none is followed from https to http."""
    address = url
    for _ in range(_MAX_REDIRECTS + 1):
        response = _connections(os.getpid(), *_proxy(address)).request(
            "GET",
            address,
            headers={"User-Agent": f"uniformer-video/{__version__}", **headers},
            preload_content=False,
            decode_content=False,
            redirect=False,
            retries=False,
        )
        target = response.get_redirect_location()
        if not target:
            return response
        response.close()
        address = _next(address, target)
    raise DataError(f"{shown(url)} leads on to other addresses more than {_MAX_REDIRECTS} times")


def _next(address, target):
    following = urllib.parse.urljoin(address, target)
    if address.startswith("https:") and not following.startswith("https:"):
        raise DataError(
            f"{shown(address)} leads on to {shown(following)}, which is not encrypted; it is not followed"
        )
    return following


def _check_status(url, response):
    status = response.status
    if status in (200, 206, 416):
        return
    if status in (404, 410):
        raise AbsentError(f"{shown(url)} does not exist (status {status})")
    if status in (401, 403):
        raise AbsentError(
            f"{shown(url)} is refused by its server (status {status}), which asks for a login, or answers "
            "so for what is not there"
        )
    if status in _BUSY:
        wait = response.headers.get("Retry-After", "")
        raise _Passing(
            f"the server answered with status {status}; try again later",
            float(wait) if wait.isdecimal() else 0.0,
        )
    raise DataError(f"the server answered with status {status} for {shown(url)}")


def _proxy(url):
    """The address of the proxy that the environment names for `url`, if any, as a tuple."""
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    return (proxy,) if proxy and not urllib.request.proxy_bypass(parts.hostname or "") else ()


@lru_cache(maxsize=2)
def _connections(process, proxy=None):
    """The open connections of a process; a forked one must not use those of its parent."""
    timeout = urllib3.Timeout(TIMEOUT_SECONDS)
    if proxy is None:
        return urllib3.PoolManager(maxsize=CONNECTIONS, timeout=timeout)
    address = urllib3.util.parse_url(proxy)
    login = urllib3.make_headers(proxy_basic_auth=urllib.parse.unquote(address.auth or "")) or None
    return urllib3.ProxyManager(proxy, proxy_headers=login, maxsize=CONNECTIONS, timeout=timeout)
