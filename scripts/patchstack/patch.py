"""One patch file: a commit in `git format-patch` form, as bytes."""

import email
import email.policy
import re
from dataclasses import dataclass
from functools import cached_property

from unidiff.patch import PatchSet

# What moves when code around a patch moves: blob ids, line numbers and the function
# heading behind them. Two patches that differ only here make the same change.
_POSITION = re.compile(rb"^(?:index [0-9a-f]{40}\.\.[0-9a-f]{40}.*|@@ -.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Patch:
    """A patch file's name and content."""

    name: str
    data: bytes

    @cached_property
    def subject(self) -> str:
        """The commit's first line, without `[PATCH]`."""
        message = email.message_from_string(
            self.data.decode(errors="surrogateescape"), policy=email.policy.compat32
        )
        folded = str(message["Subject"] or "")
        return re.sub(r"\s*\n\s*", " ", folded).removeprefix("[PATCH] ").strip()

    @cached_property
    def change(self) -> bytes:
        """Author, message and changed lines, without what merely says where."""
        return _POSITION.sub(b"", self.data)

    @cached_property
    def diff(self) -> PatchSet:
        """The parsed diff; raises unidiff's UnidiffParseError on a malformed one."""
        return PatchSet(self.data.decode(errors="surrogateescape"))

    def changes_existing(self) -> tuple[str, ...]:
        """Paths that must be there before the patch can apply."""
        return tuple(
            file.source_file.removeprefix("a/") for file in self.diff if not file.is_added_file
        )
