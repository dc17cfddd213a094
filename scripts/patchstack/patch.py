"""One patch file: a commit in `git format-patch` form, as bytes."""

import email
import email.policy
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchSet

from patchstack.errors import SeriesError

# What moves when code around a patch moves: blob ids, line numbers and the function
# heading behind them. Two patches that differ only here make the same change.
_POSITION = re.compile(rb"^(?:index [0-9a-f]{40}\.\.[0-9a-f]{40}.*|@@ -.*)$", re.MULTILINE)
_BINARY = re.compile(rb"^(?:GIT binary patch|Binary files .* differ)$", re.MULTILINE)
_FILE = re.compile(rb"^(?=diff --git )", re.MULTILINE)


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
        return re.sub(r"\s*\n\s*", " ", folded).removeprefix("[PATCH]").strip()

    @cached_property
    def change(self) -> bytes:
        """Author, message and changed lines, without what merely says where."""
        return _POSITION.sub(b"", self.data)

    @cached_property
    def diff(self) -> PatchSet:
        """The parsed diff; `SeriesError` on a malformed one."""
        # Without the message, which may hold what looks like a hunk.
        files = b"".join(_FILE.split(self.data)[1:])
        try:
            return PatchSet(files.decode(errors="surrogateescape"))
        except UnidiffParseError as error:
            raise SeriesError(
                f"{self.name} has a malformed diff: {error}: restore it with git, or "
                "export it again"
            ) from None

    @cached_property
    def sections(self) -> dict[str, bytes]:
        """The part of the diff of each file, by its path."""
        parts = _FILE.split(self.data)[1:]
        return {part.split(b"\n", 1)[0].rpartition(b" b/")[2].decode(): part for part in parts}

    @property
    def binary(self) -> bool:
        """Whether it changes a binary file."""
        return any(_BINARY.search(part) for part in self.sections.values())

    def with_sections(self, sections: dict[str, bytes]) -> "Patch":
        """The same commit with this diff, its files in git's order."""
        head = _FILE.split(self.data, maxsplit=1)[0]
        ordered = (sections[path] for path in sorted(sections, key=str.encode))
        return Patch(self.name, head + b"".join(ordered))

    def without(self, paths: Collection[str]) -> "Patch":
        """The same commit without its changes to `paths`."""
        kept = {path: part for path, part in self.sections.items() if path not in paths}
        return self.with_sections(kept)

    def changes_existing(self) -> tuple[str, ...]:
        """Paths that must be there before the patch can apply."""
        return tuple(
            file.source_file.removeprefix("a/") for file in self.diff if not file.is_added_file
        )
