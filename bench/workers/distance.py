"""The delay in front of a server: each request is passed on a moment after it came.

`GET /-` answers at once, with the number of requests since it was last asked.
"""

import itertools
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

COUNT = "/-"


class Distance:
    """A WSGI application in front of another one."""

    def __init__(self, application: Any, delay: float) -> None:
        self.application, self.delay = application, delay
        self.requests, self.lock = itertools.count(), threading.Lock()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if environ["PATH_INFO"] == COUNT:
            with self.lock:
                count, self.requests = next(self.requests), itertools.count()
            answer = str(count).encode()
            start_response("200 OK", [("Content-Length", str(len(answer)))])
            return [answer]
        with self.lock:
            next(self.requests)
        time.sleep(self.delay)
        answered: Iterable[bytes] = self.application(environ, start_response)
        return answered
