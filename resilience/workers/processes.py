"""Processes and disks that fail: `processes.py FOLDER CASES`, in the way the arm stores.

Saves run in forked children, which is cheap: a child may be killed, limited, or give up its rights.
"""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from corpus import blob_path, load, meta_path, noise, open_store, save, text
from tally import FAILS, FINISHED, NAMES, RERUN, WHOLE, WRONG, Tally, judge

DRAW = random.Random(13)
NOBODY = 65534
PROCESSES = (2, 4, 8, 16)
# Many small ones, between whose files a kill can fall, and some that take a while.
CONTENTS = [*(text(200 + size) for size in range(30)), noise(300_000), text(300_000)]


def in_child(work: Callable[[], object]) -> str:
    """Run in a forked child; returns the error, or what it returned, as text."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = str(work() or "")
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode()[:4000])
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:  # noqa: PTH123 (a file descriptor)
        said = file.read().decode(errors="replace")
    os.waitpid(pid, 0)
    return said


def drop_rights() -> None:
    """Root may do everything."""
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def format_of(root: Path, key: str, raw: bool) -> str:
    if raw:
        return "raw"
    return "LZ4" if blob_path(root, key).read_bytes().startswith(b"\x04\x22\x4d\x18") else "gzip"


class Suite:
    def __init__(self, folder: Path, cases: int, raw: bool) -> None:
        self.folder, self.cases, self.raw = folder, cases, raw
        self.tally = Tally()
        root = self.fresh()
        begin = time.monotonic()
        self.keys = [save(open_store(root), content, raw) for content in CONTENTS]
        self.seconds = time.monotonic() - begin
        self.format = format_of(root, self.keys[-1], raw)

    def fresh(self) -> Path:
        root = self.folder / "store"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        root.chmod(0o755)
        return root

    def add(self, promise: str, fault: str, broken: str, where: str = "") -> None:
        self.tally.add(promise, fault, self.format, broken.replace(str(self.folder), ""), where)

    def check(self, root: Path, fault: str, finished: Sequence[str], where: str) -> None:
        """After a failure: what was saved, what is there, and a rerun."""
        content = dict(zip(self.keys, CONTENTS, strict=True))
        store = open_store(root)

        def unread(keys: Sequence[str]) -> str:
            found = (judge(store, key, content[key], FINISHED) for key in keys)
            return next(filter(None, found), "")

        self.add(FINISHED, fault, unread(finished), where)
        there = [key for key in self.keys if blob_path(root, key).exists()]
        self.add(WHOLE, fault, unread(there), where)
        again = in_child(lambda: self.save_all(root) and None)
        self.add(RERUN, fault, again or unread(self.keys), where)

    def save_all(self, root: Path, finished: Callable[[str], object] = len) -> list[str]:
        store, keys = open_store(root), []
        for content in CONTENTS:
            keys.append(save(store, content, self.raw))
            finished(keys[-1])
        return keys

    def kill(self) -> None:
        for _ in range(self.cases):
            root = self.fresh()
            log = self.folder / "finished"
            log.write_bytes(b"")
            pid = os.fork()
            if pid == 0:
                with log.open("ab", buffering=0) as file:
                    self.save_all(root, lambda key: file.write(key.encode() + b"\n"))
                os._exit(0)
            wait = DRAW.uniform(0, 1.2 * self.seconds)
            time.sleep(wait)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            # A line without its end was not finished.
            finished = [line for line in log.read_text().split("\n")[:-1] if line]
            self.check(root, "kill -9 during saves", finished, f"after {1000 * wait:.1f} ms")

    def full_disk(self) -> None:
        """No file may become larger than so much, as if the disk had ended there."""
        largest = max(map(len, CONTENTS))
        for _ in range(max(10, self.cases // 5)):
            root, limit = self.fresh(), DRAW.randrange(10, largest // 3)

            def limited(root: Path = root, limit: int = limit) -> None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                self.save_all(root)

            said = in_child(limited)
            where = f"files of {limit} bytes at most"
            self.add(FAILS, "disk full", "" if said else "no error", where)
            self.check(root, "disk full", [], where)

    def small_disk(self) -> None:
        """A real one, where it can be mounted."""
        fault = "disk full, tmpfs of 256 KB"
        root = self.fresh()
        mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", str(root)]
        try:
            subprocess.run(mount, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            self.tally.skip(FAILS, fault, self.format, "a tmpfs cannot be mounted here")
            return
        try:
            said = in_child(lambda: self.save_all(root) and None)
            self.add(FAILS, fault, "" if said else "no error")
            subprocess.run(["mount", "-o", "remount,size=64m", str(root)], check=True)
            self.check(root, fault, [], "")
        finally:
            subprocess.run(["umount", str(root)], check=True)

    def others(self) -> None:
        """Another user reads the store, which is read-only then; and may not write."""
        root = self.fresh()
        if os.geteuid() != 0:
            self.tally.skip(FINISHED, "read by another user", self.format, "needs root")
        some = [save(open_store(root), content, self.raw) for content in CONTENTS[:5]]

        def read(number: int) -> str:
            drop_rights()
            said: str = judge(open_store(root), some[number], CONTENTS[number], FINISHED)
            return said

        def write(number: int) -> None:
            drop_rights()
            save(open_store(root), CONTENTS[number], self.raw)

        if os.geteuid() == 0:
            for number in range(len(some)):
                said = in_child(partial(read, number))
                self.add(FINISHED, "read by another user", said)
        paths = [root, *root.rglob("*")]
        for path in paths:
            path.chmod(0o555 if path.is_dir() else 0o444)
        for number in range(len(CONTENTS)):
            if number < len(some):
                said = in_child(partial(read, number))
                self.add(FINISHED, "read-only store", said)
            else:
                said = in_child(partial(write, number))
                refused = said.startswith("PermissionError") and str(root) in said
                self.add(FAILS, "read-only store", "" if refused else said or "no error")
        for path in paths:
            path.chmod(0o755)

    def lost_permission(self) -> None:
        root = self.fresh()
        for content in CONTENTS:
            key = save(open_store(root), content, self.raw)
            for path in (blob_path(root, key), meta_path(root, key), blob_path(root, key).parent):
                if not path.exists():
                    continue  # metadata that local-files leaves out
                before = path.stat().st_mode
                path.chmod(0)

                def attempt(key: str = key, content: bytes = content) -> str:
                    drop_rights()
                    said: str = judge(open_store(root), key, content, NAMES)
                    return said

                what = "folder" if path.is_dir() else path.name.replace(key, "object")
                said = in_child(attempt)
                path.chmod(before)
                self.add(NAMES, "permission lost", said, what)

    def vanished(self) -> None:
        root = self.fresh()
        store = open_store(root)
        for content in CONTENTS:
            key = save(store, content, self.raw)
            blob = blob_path(root, key)
            kept = blob.read_bytes()
            blob.unlink()
            said = judge(store, key, content, NAMES)
            self.add(NAMES, "object vanished", said)
            blob.write_bytes(kept)

    def vanishing(self) -> None:
        """The object comes and goes while it is read."""
        root = self.fresh()
        store = open_store(root)
        content = CONTENTS[0]
        key = save(store, content, self.raw)
        blob = blob_path(root, key)
        away = blob.with_name("away")
        pid = os.fork()
        if pid == 0:
            while True:
                blob.rename(away)
                away.rename(blob)
        try:
            for _ in range(5 * self.cases):
                said = judge(store, key, content, NAMES)
                self.add(NAMES, "object comes and goes", said)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def crowd(self) -> None:
        """Several processes save at once: the same contents, and each its own."""
        for processes in PROCESSES:
            for same in (True, False):
                for _ in range(max(1, self.cases // 100)):
                    self.crowd_once(processes, same)

    def crowd_once(self, processes: int, same: bool) -> None:
        root = self.fresh()
        go, hold = os.pipe()
        contents = [
            [content + (b"" if same else b"%d" % number) for content in CONTENTS]
            for number in range(processes)
        ]
        children = []
        for number in range(processes):
            pid = os.fork()
            if pid == 0:
                os.close(hold)
                os.read(go, 1)  # all start when the parent closes its end
                store = open_store(root)
                code = 0
                for content in contents[number]:
                    try:
                        code |= load(store, save(store, content, self.raw)) != content
                    except Exception:
                        code |= 2
                os._exit(code)
            children.append(pid)
        os.close(go)
        os.close(hold)
        fault = f"2 to 16 processes save {'the same' if same else 'each its own'}"
        where = f"{processes} processes"
        for pid in children:
            _, status = os.waitpid(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            said = {0: "", 1: WRONG, 2: "an error where the object was read at once"}
            self.add(FINISHED, fault, said.get(code, WRONG), where)
        wrong = [
            content
            for members in contents
            for content in members
            if load(open_store(root), save(open_store(root), content, self.raw)) != content
        ]
        self.add(WHOLE, fault, WRONG if wrong else "", where)


def main(folder: Path, cases: int) -> None:
    folder.chmod(0o755)
    tally = Tally()
    for raw in (False, True):
        suite = Suite(folder, cases, raw)
        suite.kill()
        suite.full_disk()
        suite.small_disk()
        suite.others()
        suite.lost_permission()
        suite.vanished()
        suite.vanishing()
        suite.crowd()
        tally.counts |= suite.tally.counts
    tally.print()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
