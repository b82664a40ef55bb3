"""What went wrong on a network, in words."""

import http.client
import socket
import ssl

from uniformer_video.words import one_line


def explain_failure(reason: BaseException, timeout_seconds: float) -> str:
    """One line for an error of a connection that waits `timeout_seconds` for an answer."""
    if isinstance(reason, socket.gaierror):
        return "its host is not known; check the address and the network connection"
    if isinstance(reason, ConnectionRefusedError):
        return "the server refuses connections; check the address, or try again later"
    if isinstance(reason, TimeoutError):
        return f"no answer for {timeout_seconds} seconds; try again later"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"the server's certificate is not valid ({reason.verify_message})"
    if isinstance(reason, (ConnectionError, http.client.HTTPException)):
        return "the connection broke off; try again"
    return one_line(reason)
