"""moto's S3 server behind a delay: each request is passed on a moment after it came.

Arguments: the port, and the delay in seconds. `GET /-` answers at once, with the number of
requests since it was last asked.
"""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple

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


if __name__ == "__main__":
    # Connections are kept, as S3 keeps them.
    MotoRequestHandler.protocol_version = "HTTP/1.1"
    moto = DomainDispatcherApplication(create_backend_app)
    run_simple(
        "127.0.0.1",
        int(sys.argv[1]),
        Distance(moto, float(sys.argv[2])),
        threaded=True,
        request_handler=MotoRequestHandler,
    )
