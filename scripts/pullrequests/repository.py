"""A repository on GitHub, named by the URL in series.toml and by nothing else."""

import re
from dataclasses import dataclass

from patchstack.errors import SeriesError
from patchstack.series import Series

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
# A file URL is a mirror of the GitHub repository of the same name: what tests push to.
# No name ends in a dot or .git: GitHub might take it for the one without.
_NAME = rf"{_PART}?(?<!\.)(?<!\.git)"
_URL = re.compile(rf"(?:https://({_PART})|file:///.+)/({_PART})/({_NAME})(?:\.git)?/?")
GITHUB = "github.com"


@dataclass(frozen=True)
class Repository:
    """Where it is pushed to, and what the API calls it."""

    url: str
    host: str
    owner: str
    name: str

    @classmethod
    def parse(cls, url: str, key: str) -> "Repository":
        found = _URL.fullmatch(url)
        if not found:
            raise SeriesError(
                f"patches/series.toml: {key}: no https://host/owner/name, without a user name or "
                "a password in it: correct the value"
            )
        return cls(url, found[1] or GITHUB, found[2], found[3])

    @property
    def slug(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def path(self) -> str:
        """Where the API has it."""
        return f"repos/{self.slug}"

    def same(self, slug: str) -> bool:
        """GitHub's names are the same whatever their case."""
        return self.slug.lower() == slug.lower()


def repositories(series: Series) -> tuple[Repository, Repository]:
    """Upstream and the fork. They are two different ones, or nothing is done at all."""
    upstream = Repository.parse(series.pin.repository, "pin.repository")
    fork = Repository.parse(series.fork.repository, "fork.repository")
    if fork.same(upstream.slug):
        raise SeriesError(
            "patches/series.toml: fork.repository: is upstream itself, to which nothing is ever "
            "pushed: name your fork"
        )
    if fork.host != upstream.host:
        raise SeriesError(
            f"patches/series.toml: fork.repository: is on {fork.host}, upstream on "
            f"{upstream.host}: a pull request needs both on one host"
        )
    return upstream, fork
