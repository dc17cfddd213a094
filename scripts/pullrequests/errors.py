"""What can go wrong between a topic and its pull request. Every message has its remedy."""

from patchstack.errors import PatchStackError


class TextError(PatchStackError):
    """What a person has to write is missing or cannot be read."""


class PushError(PatchStackError):
    """A push was refused: by this code, or by the fork."""


class ForeignCommitError(PushError):
    """The branch on the fork holds commits that were not pushed from here.

    `range_diff` compares what was pushed last with what is there now.
    """

    def __init__(self, message: str, range_diff: str) -> None:
        super().__init__(message)
        self.range_diff = range_diff


class SubmissionError(PatchStackError):
    """A person has to decide something first: here, or on GitHub."""


class GitHubError(PatchStackError):
    """GitHub did not do what was asked, or `gh` could not ask."""


class OfflineError(GitHubError):
    """GitHub could not be asked: no network, no gh, or no account."""


class NotFoundError(GitHubError):
    """404 or 410: it is not there, not any more, or not for this account."""


class UnprocessableError(GitHubError):
    """422: GitHub understood the request and refuses its content."""


class ServerError(GitHubError):
    """5xx: nothing is known about whether the request was carried out."""
