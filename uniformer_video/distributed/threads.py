"""A blocking call in a thread of its own, so that signals and timeouts still reach the caller."""

import threading
from concurrent.futures import Future


def in_thread(action, seconds=None):
    """What `action()` returns or raises. Raises `TimeoutError` where it takes more than `seconds`.

    Python answers signals in the main thread, and not while that waits in a library; here it only waits for
    the other thread. An action that takes too long goes on, and nobody hears of it.
    """
    outcome = Future()

    def act():
        try:
            outcome.set_result(action())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=act, daemon=True).start()
    return outcome.result(seconds)
