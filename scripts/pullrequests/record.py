"""data/pull_requests.json: what was pushed and opened, and what was last seen of it.

Written by the doors and committed, so that a rerun from anywhere goes on where the last one
ended. No token and no text of other people is kept.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from patchstack.errors import SeriesError
from patchstack.project import Project
from patchstack.series import Number, Sha1, Table


class Item(str, Enum):
    ISSUE = "issue"
    PULL = "pull request"


class State(str, Enum):
    OPEN = "open"
    DRAFT = "draft"
    CLOSED = "closed"
    MERGED = "merged"
    UNKNOWN = "unknown"


class Seen(Table):
    """An issue or a pull request as it last was. Without `at`, nobody has looked yet."""

    kind: Item
    state: State = State.UNKNOWN
    at: str = ""  # UTC, ISO 8601
    review: str = ""
    checks: str = ""
    comment: str = ""  # who commented last, and when
    head: str = ""  # commit of the branch, of a pull request


class Entry(Table):
    """What is known about a topic."""

    issue: Number | None = None
    pull_request: Number | None = None
    # The commit on the fork's branch; `pushing` is written before a push and is it after.
    pushed: Sha1 | None = None
    pushing: Sha1 | None = None
    # What `pushed` was made of: the pin, and the digest of its patches.
    pin: Sha1 | None = None
    patches: str | None = None
    # Gate -> why the contributor goes on without it.
    overrides: dict[str, str] = Field(default_factory=dict)
    # "owner/name#1" -> what was last seen there.
    seen: dict[str, Seen] = Field(default_factory=dict)


class RecordFile(Table):
    topics: dict[str, Entry] = Field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """The file; every change is on disk before `put` returns."""

    project: Project

    @property
    def file(self) -> Path:
        return self.project.root / "data" / "pull_requests.json"

    def entries(self) -> dict[str, Entry]:
        try:
            return RecordFile.model_validate_json(self.file.read_bytes()).topics
        except FileNotFoundError:
            return {}
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "not JSON"
            raise SeriesError(
                f"data/{self.file.name}: {where}: {first['msg']}: restore the file with git"
            ) from None

    def get(self, topic: str) -> Entry:
        return self.entries().get(topic, Entry())

    def put(self, topic: str, **changes: Any) -> None:
        """Change fields of a topic's entry; of fields that are tables, the named lines."""
        with self.project.exclusive():
            entries = self.entries()
            entry = entries.get(topic, Entry())
            for name in ("overrides", "seen"):
                changes[name] = {**getattr(entry, name), **changes.get(name, {})}
            entries[topic] = entry.model_copy(update=changes)
            content = RecordFile(topics=entries).model_dump(mode="json", exclude_defaults=True)
            self.file.parent.mkdir(exist_ok=True)
            text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)
            write(self.file, text + "\n")


def write(file: Path, text: str) -> None:
    """Replace a file in one rename."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="")
    partial.replace(file)


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
