"""What can go wrong in ways a user can mend. Every message carries its remedy."""


class PatchStackError(Exception):
    """An expected failure: one line that says what happened and what to do next."""


class SeriesError(PatchStackError):
    """`patches/` or its series.toml is not what it must be."""


class SourceError(PatchStackError):
    """Upstream's source cannot be had, or is not the pinned one."""


class UnsavedWorkError(PatchStackError):
    """Going on would put aside work that no patch file holds."""


class ConflictError(PatchStackError):
    """A patch does not apply."""


class ExportError(PatchStackError):
    """The commits of a branch cannot become patch files without loss."""


class GateError(PatchStackError):
    """A check could not be run (a failing check is a result, not an error)."""


class CommandError(PatchStackError):
    """An external program failed; the message is its own last words."""
