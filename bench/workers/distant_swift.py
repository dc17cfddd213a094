"""OpenStack Swift and its S3 API behind a delay (distance.py), with its files in this folder.

Arguments: the port, and the delay in seconds. Swift's four servers share this process, and a
dictionary stands in for memcached, without which Swift asks itself the same again and again.
"""

# Before everything else: Swift's servers wait for each other in one thread.
import eventlet

eventlet.monkey_patch()

import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable, Iterable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import eventlet.wsgi  # noqa: E402
from distance import Distance  # noqa: E402
from swift.common import utils  # noqa: E402
from swift.common.http_protocol import SwiftHttpProtocol  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.storage_policy import reload_storage_policies  # noqa: E402
from swift.common.wsgi import loadapp  # noqa: E402

SWIFT = """
[swift-hash]
swift_hash_path_suffix = bench
[storage-policy:0]
name = one
default = yes
"""
COMMON = """
[DEFAULT]
swift_dir = {folder}
devices = {folder}
mount_check = false
fallocate_reserve = 0
log_level = ERROR
"""
BACKEND = """
[pipeline:main]
pipeline = app
[app:app]
use = egg:swift#{kind}
"""
# S3's key is "account:user", and its secret the password. The segments of large objects need slo.
PROXY = """
[pipeline:main]
pipeline = catch_errors s3api tempauth bulk slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_bench_bench = bench .admin
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
"""


class Memory:
    """What Swift's servers ask of memcached; values are JSON there as well."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def get(self, key: str, **_: Any) -> Any:
        return json.loads(self.values.get(key, "null"))

    def set(self, key: str, value: Any, **_: Any) -> None:
        self.values[key] = json.dumps(value)

    def delete(self, key: str, **_: Any) -> None:
        self.values.pop(key, None)


def listen(port: int = 0) -> Any:
    return eventlet.listen(("127.0.0.1", port), backlog=1000)


def serve(listener: Any, application: Any) -> None:
    # As swift.common.wsgi.run_server does. Otherwise eventlet claims a type of text/plain for
    # requests without one, and changes the case of the headers in which S3 keeps metadata.
    eventlet.wsgi.server(
        listener,
        application,
        log_output=False,
        protocol=SwiftHttpProtocol,
        capitalize_response_headers=False,
    )


def start_backend(kind: str, folder: Path) -> None:
    """An account, container or object server, with one device, which all of its ring is on."""
    listener = listen()
    ring = RingBuilder(part_power=1, replicas=1, min_part_hours=0)
    port = listener.getsockname()[1]
    device = {"id": 0, "region": 1, "zone": 1, "weight": 1.0, "device": "device"}
    ring.add_dev(device | {"ip": "127.0.0.1", "port": port})
    ring.rebalance()
    ring.get_ring().save(str(folder / f"{kind}.ring.gz"))
    eventlet.spawn(serve, listener, load(kind, BACKEND.format(kind=kind), folder))


def load(name: str, settings: str, folder: Path) -> Any:
    file = folder / f"{name}.conf"
    file.write_text(COMMON.format(folder=folder) + settings)
    return loadapp(str(file))


def make_swift(folder: Path) -> Callable[..., Iterable[bytes]]:
    (folder / "device").mkdir()
    (folder / "swift.conf").write_text(SWIFT)
    utils.set_swift_dir(str(folder))
    reload_storage_policies()
    for kind in ("account", "container", "object"):
        start_backend(kind, folder)
    proxy, memory = load("proxy", PROXY, folder), Memory()

    def remember(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answered: Iterable[bytes] = proxy(environ | {"swift.cache": memory}, start_response)
        return answered

    return remember


if __name__ == "__main__":
    serve(listen(int(sys.argv[1])), Distance(make_swift(Path.cwd()), float(sys.argv[2])))
