"""Counting: what was tried, and what broke a promise."""

import json
import sys
from dataclasses import asdict, dataclass

from corpus import load
from metaflow.datastore.content_addressed_store import ContentAddressedStore
from metaflow.datastore.exceptions import DataException

# What an arm promises; in the order of the table.
READS = "right bytes, or a DataException that names the object"
NAMES = "right bytes, or an error that names the object"
WHOLE = "what is in the store is whole"
FINISHED = "what was saved is read"
RERUN = "a rerun succeeds"
FAILS = "a save that fails says so"
BOUNDED = "memory is bounded by what the object declares"
AGREES = "what it reads, the library's own reader reads alike"


@dataclass
class Count:
    """One line of data/faults.tsv, but for the arm."""

    promise: str
    fault: str
    format: str
    cases: int = 0
    violations: int = 0
    silent: int = 0  # violations without any error: wrong data
    example: str = ""  # the first violation, or why there are no cases


class Tally:
    def __init__(self) -> None:
        self.counts: dict[tuple[str, str, str], Count] = {}

    def add(self, promise: str, fault: str, format: str, broken: str, where: str = "") -> None:
        """One case; `broken` says how the promise was, "" if it was not."""
        count = self.count(promise, fault, format)
        count.cases += 1
        if broken:
            count.violations += 1
            count.silent += broken == WRONG
            count.example = count.example or f"{where}: {broken}".removeprefix(": ")

    def count(self, promise: str, fault: str, format: str) -> Count:
        return self.counts.setdefault((promise, fault, format), Count(promise, fault, format))

    def skip(self, promise: str, fault: str, format: str, reason: str) -> None:
        self.count(promise, fault, format).example = f"skipped: {reason}"

    def print(self) -> None:
        json.dump([asdict(count) for count in self.counts.values()], sys.stdout)


WRONG = "other bytes, and no error"


def judge(store: ContentAddressedStore, key: str, content: bytes, promise: str = READS) -> str:
    """How loading a key broke the promise, which may allow some errors; "" if it did not."""
    try:
        data = load(store, key)
    except Exception as error:
        known = promise == NAMES or (promise == READS and isinstance(error, DataException))
        return "" if known and key in str(error) else f"{type(error).__name__}: {error}"
    return "" if data == content else WRONG
