"""A blocking call in a thread of its own, so that signals and timeouts still reach the caller."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def in_thread(action: Callable[[], Result], seconds: float | None = None) -> Result:
    """What `action()` returns or raises. Raises `TimeoutError` where it takes more than `seconds`.

    Python answers signals in the main thread, and not while that waits in a library; here it only waits for
    the other thread. An action that takes too long goes on, and nobody hears of it.
    """
    outcome: Future[Result] = Future()

    def act() -> None:
        try:
            outcome.set_result(action())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=act, daemon=True).start()
    return outcome.result(seconds)
