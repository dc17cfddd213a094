#!/usr/bin/env python3
"""Fetch uv into build/uv/ for machines that have only Python, git and make.

Runs before any environment exists, so it uses the standard library alone. The
version, addresses and sha256 sums come from uv.lock: what is fetched is what the
project is tested with. Works where Debian's python3 has neither pip nor venv.
"""

import hashlib
import http.client
import io
import platform
import re
import sys
import urllib.request
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "build" / "uv" / "uv"


def wheel_tag() -> str:
    """The part of the wheel's file name that names this system."""
    machine = platform.machine().lower().replace("amd64", "x86_64")
    if sys.platform == "darwin":
        return r"macosx_[0-9_]+_" + machine
    machine = machine.replace("arm64", "aarch64")
    libc = "manylinux" if platform.libc_ver()[0] == "glibc" else "musllinux"
    return rf"[a-z0-9_.]*{libc}[a-z0-9_.]*_{machine}"


def locked_wheel() -> tuple[str, str]:
    """Address and sha256 of the wheel of uv for this system, from uv.lock."""
    lock = (ROOT / "uv.lock").read_text(encoding="utf-8")
    wheel = rf"[^\"]+/uv-[0-9.]+-py3-none-{wheel_tag()}\.whl"
    found = re.search(rf'url = "({wheel})", hash = "sha256:([0-9a-f]+)"', lock)
    if not found:
        sys.exit(
            f"fetch_uv: uv.lock has no uv for {sys.platform} {platform.machine()}; "
            "install uv yourself and put it on PATH"
        )
    return found[1], found[2]


def main() -> None:
    url, sha256 = locked_wheel()
    print(f"fetching {url.rsplit('/', 1)[1]} into {TARGET.parent}", file=sys.stderr)
    try:
        with urllib.request.urlopen(url, timeout=60) as reply:
            wheel = reply.read()
    except (OSError, http.client.HTTPException) as error:
        sys.exit(
            f"fetch_uv: {error}; check the network and certificates (package ca-certificates), "
            "or install uv and put it on PATH"
        )
    if hashlib.sha256(wheel).hexdigest() != sha256:
        sys.exit("fetch_uv: what arrived does not have the sha256 of uv.lock; try again")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        member = next(name for name in archive.namelist() if name.endswith("/scripts/uv"))
        binary = archive.read(member)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    partial = TARGET.with_suffix(".partial")
    partial.write_bytes(binary)
    partial.chmod(0o755)
    partial.replace(TARGET)  # a kill leaves no half-written binary behind


if __name__ == "__main__":
    main()
