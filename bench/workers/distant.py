"""moto's S3 server behind a delay (distance.py). Arguments: the port, and the delay in seconds."""

import sys

from distance import Distance
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple

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
