"""What a source can hold of the series.

A submodule holds all of it. An sdist lacks upstream's tests and documents: what a patch
changes there is left out of the commits made of it, and put back when they are exported.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from patchstack.errors import ExportError
from patchstack.patch import Patch
from patchstack.series import Series
from patchstack.source import Kind, Source

# What the sdist of upstream leaves out; elsewhere a missing file is a patch that does not fit.
NOT_IN_SDIST = ("test/", "docs/", "stubs/")


@dataclass(frozen=True)
class HeldPatches:
    """The patches of a topic, and the paths in them that the source does not have."""

    topic: str
    patches: tuple[Patch, ...]
    left_out: tuple[str, ...]

    @property
    def applied(self) -> tuple[Patch, ...]:
        """Those that become commits: a patch of which nothing is left would be an empty one."""
        if not self.left_out:
            return self.patches
        return tuple(one for one in self.patches if not one.sections.keys() <= set(self.left_out))

    @property
    def commits(self) -> tuple[Patch, ...]:
        """Those that become commits, as a commit here can make them."""
        return tuple(patch.without(self.left_out) for patch in self.applied)

    def restored(self, written: tuple[Patch, ...]) -> tuple[Patch, ...]:
        """`written`, patches of commits made here, with what had been left out of them.

        It stays with the commit of the same subject; `ExportError` where there is none.
        """
        restored = list(written)
        for at, patch in enumerate(self.patches):
            kept = {path: part for path, part in patch.sections.items() if path in self.left_out}
            if not kept:
                continue
            if patch not in self.applied:
                restored.insert(at, patch)
                continue
            places = [at for at, one in enumerate(restored) if one.subject == patch.subject]
            if len(places) != 1:
                raise ExportError(
                    f"topic '{self.topic}': '{patch.subject}' changes {', '.join(kept)}, which the "
                    "sdist does not have, and no commit has that subject: keep the subject, or "
                    "initialize the submodule to edit and export it"
                )
            one = restored[places[0]]
            restored[places[0]] = one.with_sections(one.sections | kept)
        return tuple(
            Patch(f"{number:04}{patch.name[4:]}", patch.data)
            for number, patch in enumerate(restored, start=1)
        )


def hold(series: Series, source: Source) -> Mapping[str, HeldPatches]:
    """The patches of every topic, by its name, as `source` can hold them."""
    every = [patch for patches in series.patches.values() for patch in patches]
    created = {file.path for patch in every for file in patch.diff if file.is_added_file}

    def missing(patches: tuple[Patch, ...]) -> tuple[str, ...]:
        if source.kind is not Kind.SDIST:
            return ()
        paths = dict.fromkeys(path for patch in patches for path in patch.changes_existing())
        return tuple(
            path
            for path in paths
            if path.startswith(NOT_IN_SDIST) and path not in created and not source.has(path)
        )

    return {
        name: HeldPatches(name, patches, missing(patches))
        for name, patches in series.patches.items()
    }
