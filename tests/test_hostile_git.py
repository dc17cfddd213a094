"""The same bytes and the same commits, whatever git is told to do elsewhere.

Settings come in two sets, because some hide others, and through every way there is: files
of the user, variables of the environment, and the source repository itself.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sandbox import BRANCHES, Sandbox, git

CONFIG = {
    "one": {
        "diff.noprefix": "true",
        "diff.renames": "copies",
        "diff.context": "0",
        "diff.interHunkContext": "20",
        "diff.algorithm": "patience",
        "diff.external": "false",
        "diff.suppressBlankEmpty": "true",
        "core.quotePath": "true",
        "core.autocrlf": "true",
        "core.whitespace": "trailing-space,cr-at-eol",
        "apply.whitespace": "fix",
        "format.signature": "hostile",
        "format.subjectPrefix": "HOSTILE",
        "format.attach": "true",
        "format.thread": "deep",
        "format.numbered": "true",
        "format.signOff": "true",
        "format.headers": "X-Hostile: yes",
        "format.encodeEmailHeaders": "true",
        "am.threeWay": "true",
        "am.keepcr": "false",
        "am.messageId": "true",
        "i18n.logOutputEncoding": "ISO-8859-1",
        "i18n.commitEncoding": "ISO-8859-1",
        "commit.gpgSign": "true",
        "gpg.program": "false",
        "color.ui": "always",
        "log.showSignature": "true",
        "user.useConfigOnly": "true",
    },
    "two": {
        "diff.mnemonicPrefix": "true",
        "diff.renames": "false",
        "diff.context": "9",
        "diff.algorithm": "minimal",
        "diff.indentHeuristic": "false",
        "diff.ignoreSubmodules": "all",
        "diff.wordRegex": ".",
        "core.autocrlf": "input",
        "core.eol": "crlf",
        "core.abbrev": "40",
        "core.commentChar": "[",
        "format.pretty": "oneline",
        "format.numbered": "false",
        "format.outputDirectory": "/nonexistent/hostile",
        "format.suffix": ".hostile",
        "format.coverLetter": "true",
        "format.useAutoBase": "true",
        "format.notes": "true",
        "format.from": "Hostile <hostile@example.org>",
        "format.filenameMaxLength": "9",
        "mailinfo.scissors": "true",
        "log.date": "relative",
        "log.mailmap": "true",
        "log.decorate": "full",
        "rebase.autoStash": "true",
        "commit.cleanup": "verbatim",
        "tag.gpgSign": "true",
    },
}
ATTRIBUTES = "*.py diff=hostile -merge\ncrlf.py text eol=lf\nstore.py -diff\n*.md binary\n"
DRIVER = {"diff.hostile.textconv": "false", "diff.hostile.xfuncname": "^$"}
HOOKS = (
    *("applypatch-msg", "commit-msg", "post-applypatch", "post-checkout", "post-commit"),
    *("pre-applypatch", "pre-commit", "prepare-commit-msg", "reference-transaction"),
)

Settings = dict[str, str]
Channel = Callable[[Path, Settings], dict[str, str]]


def written(file: Path, settings: Settings) -> Path:
    file.parent.mkdir(parents=True)
    for key, value in settings.items():
        git(file.parent, "config", "--file", str(file), key, value)
    return file


def home(folder: Path, settings: Settings) -> dict[str, str]:
    written(folder / ".gitconfig", settings)
    return {"HOME": str(folder)}


def xdg(folder: Path, settings: Settings) -> dict[str, str]:
    written(folder / "git" / "config", settings)
    (folder / "git" / "attributes").write_text(ATTRIBUTES)  # git reads them without being told
    return {"XDG_CONFIG_HOME": str(folder), "HOME": os.devnull}


def global_file(folder: Path, settings: Settings) -> dict[str, str]:
    return {"GIT_CONFIG_GLOBAL": str(written(folder / "global", settings))}


def system_file(folder: Path, settings: Settings) -> dict[str, str]:
    file = written(folder / "system", settings)
    return {"GIT_CONFIG_SYSTEM": str(file), "GIT_CONFIG_NOSYSTEM": "0"}


def variables(_: Path, settings: Settings) -> dict[str, str]:
    numbered = {f"GIT_CONFIG_KEY_{n}": key for n, key in enumerate(settings)}
    numbered |= {f"GIT_CONFIG_VALUE_{n}": value for n, value in enumerate(settings.values())}
    return {"GIT_CONFIG_COUNT": str(len(settings))} | numbered


def hostile_files(folder: Path) -> Settings:
    """Settings that name files: an order of files in a diff, attributes, hooks that fail."""
    folder.mkdir()
    (folder / "order").write_text("*.toml\nmetaflow/größe.py\n*.md\n*.py\n")
    (folder / "attributes").write_text(ATTRIBUTES)
    (folder / "template" / "info").mkdir(parents=True)
    (folder / "template" / "info" / "attributes").write_text(ATTRIBUTES)
    for place in (folder / "hooks", folder / "template" / "hooks"):
        fail_every_hook(place)
    return {
        "diff.orderFile": str(folder / "order"),
        "core.attributesFile": str(folder / "attributes"),
        "core.hooksPath": str(folder / "hooks"),
        "init.templateDir": str(folder / "template"),
    }


def fail_every_hook(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in HOOKS:
        (folder / name).write_text("#!/bin/sh\necho hostile; exit 1\n")
        (folder / name).chmod(0o755)


def edited(sandbox: Sandbox) -> Sandbox:
    """A project with work to export that shows each setting's effect, were there one."""
    sandbox.switch("perf/core")
    store = (sandbox.tree / "metaflow" / "store.py").read_text()
    copied = store + "# the last line\n"
    windows = b"a = 1\r\nb = 2  \r\n"
    sandbox.commit("[core] Größe", {"metaflow/copied.py": copied, "metaflow/windows.py": windows})
    latin = (sandbox.tree / "metaflow" / "latin.py").read_bytes()
    changed = store.replace("value + 4", "4 + value").replace("value + 6", "6 + value")
    moved = {"metaflow/latin.py": None, "metaflow/moved.py": latin}
    sandbox.commit("Move", {"metaflow/store.py": changed} | moved)
    sandbox.leave()
    return sandbox


@pytest.fixture
def expected(make_sandbox: Callable[..., Sandbox]) -> Sandbox:
    """The project after export and apply where no configuration is set at all."""
    sandbox = edited(make_sandbox("submodule", name="expected"))
    sandbox.export()
    sandbox.apply()
    return sandbox


def exports_and_applies_the_same(sandbox: Sandbox, expected: Sandbox, **env: str) -> None:
    sandbox.opens("export_patches", **env)
    assert sandbox.patches() == expected.patches()
    # From nothing, too: commits made under these settings are the same commits.
    for branch in BRANCHES:
        sandbox.git("-c", "core.hooksPath=/dev/null", "branch", "--quiet", "-D", branch)
    sandbox.opens("apply_patches", **env)
    expected_files = expected.git("rev-parse", *(f"{branch}^{{tree}}" for branch in BRANCHES))
    assert (
        sandbox.git("rev-parse", *(f"{branch}^{{tree}}" for branch in BRANCHES)) == expected_files
    )
    assert sandbox.branches()["perf/series"] == expected.branches()["perf/series"]
    before = sandbox.snapshot()
    sandbox.opens("export_patches", *BRANCHES, **env)
    assert sandbox.snapshot() == before


@pytest.mark.parametrize("settings", CONFIG.values(), ids=CONFIG.keys())
@pytest.mark.parametrize("channel", [home, xdg, global_file, system_file, variables])
def test_the_users_settings(
    make_sandbox: Callable[..., Sandbox],
    expected: Sandbox,
    tmp_path: Path,
    settings: Settings,
    channel: Channel,
) -> None:
    everything = settings | DRIVER | hostile_files(tmp_path / "files")
    env = channel(tmp_path / "settings", everything)
    exports_and_applies_the_same(edited(make_sandbox("submodule")), expected, **env)


@pytest.mark.parametrize("channel", [home, xdg, variables])
def test_an_sdist_becomes_the_same_commit(
    make_sandbox: Callable[..., Sandbox], sdist: Sandbox, tmp_path: Path, channel: Channel
) -> None:
    everything = CONFIG["one"] | DRIVER | hostile_files(tmp_path / "files")
    sandbox = make_sandbox("sdist", applied=False, name="hostile")
    sandbox.opens("apply_patches", **channel(tmp_path / "settings", everything))
    assert sandbox.refs() == sdist.refs()


@pytest.mark.parametrize("settings", CONFIG.values(), ids=CONFIG.keys())
def test_the_source_repositorys_own_settings(
    make_sandbox: Callable[..., Sandbox], expected: Sandbox, tmp_path: Path, settings: Settings
) -> None:
    sandbox = edited(make_sandbox("submodule"))
    git_folder = sandbox.git_folder
    for key, value in (settings | DRIVER | hostile_files(tmp_path / "files")).items():
        sandbox.git("config", "--local", key, value)
    (git_folder / "info" / "attributes").write_text("*.py diff=hostile\nstore.py -diff\n")
    fail_every_hook(git_folder / "hooks")
    exports_and_applies_the_same(sandbox, expected)


def test_variables_of_a_git_hook(
    make_sandbox: Callable[..., Sandbox], expected: Sandbox, tmp_path: Path
) -> None:
    """As when a door is run by a hook of another repository, in the middle of its commit."""
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    (other / "file").write_bytes(b"1\n")
    git(other, "add", ".")
    before = (other / ".git" / "index").read_bytes()
    env = {
        "GIT_DIR": str(other / ".git"),
        "GIT_WORK_TREE": str(other),
        "GIT_INDEX_FILE": str(other / ".git" / "index"),
        "GIT_OBJECT_DIRECTORY": str(other / ".git" / "objects"),
        "GIT_COMMON_DIR": str(other / ".git"),
        "GIT_NAMESPACE": "hostile",
        "GIT_PREFIX": "metaflow/",
        "GIT_AUTHOR_NAME": "Hostile",
        "GIT_AUTHOR_DATE": "2001-01-01T00:00:00Z",
        "GIT_COMMITTER_DATE": "2001-01-01T00:00:00Z",
        "GIT_EXTERNAL_DIFF": "false",
        "GIT_DIFF_OPTS": "--unified=0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_EDITOR": "false",
        "LC_ALL": "de_DE.UTF-8",
    }
    exports_and_applies_the_same(edited(make_sandbox("submodule")), expected, **env)
    assert (other / ".git" / "index").read_bytes() == before
    assert git(other, "for-each-ref") == ""


def test_grafted_and_replaced_history(
    make_sandbox: Callable[..., Sandbox], expected: Sandbox
) -> None:
    """A replace ref shows other content under the same id; patches are made of the real one."""
    sandbox = edited(make_sandbox("submodule"))
    shown = sandbox.git("rev-parse", "perf/core:setup.py")
    sandbox.git("replace", sandbox.git("rev-parse", "perf/core:metaflow/copied.py"), shown)
    sandbox.opens("export_patches")
    assert sandbox.patches() == expected.patches()
