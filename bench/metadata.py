"""A stand-in for Metaflow's metadata service, on the loopback: it agrees to everything.

It keeps nothing and answers at once, so a run with it costs what its client costs.
"""

import contextlib
import itertools
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Seconds between heartbeats, as the service asks for them.
PAUSE = 10


@contextlib.contextmanager
def serve_metadata(version: str, asked: list[str] | None = None) -> Iterator[str]:
    """Run the service until the end of the block; yields its address.

    Clients send heartbeats to a service of a `version` from 2.0.4 on. The path of every request
    is added to `asked`.
    """
    numbers = itertools.count(1)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if asked is not None:
                asked.append(self.path)
            answer: object = {"run_number": 1, "task_id": next(numbers)}
            if self.path.endswith("/heartbeat"):
                answer = json.dumps({"wait_time_in_seconds": PAUSE})
            content = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("METADATA_SERVICE_VERSION", version)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PATCH = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
