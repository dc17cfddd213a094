"""What must survive a kill, a second engine, a full disk, no network and damaged files.

Every fault is a real one: a SIGKILL to a process group, a file system without a free byte,
a port where nobody listens. Delays are seeded shares of a measured runtime, so a slow machine
is killed at the same places; no assertion depends on when a kill arrives.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sandbox import RELEASE, ROOT, Sandbox, clean_environment

from patchstack.export import _stage, finish_interrupted_swap

KILLS = 10
# How long a git that outlives its killed door may take; only a failing test waits so long.
PATIENCE_S = 30
DISK_BYTES = 16 << 20
BLOCK_BYTES = 4096
# Set where a test already runs in a mount namespace of its own.
IN_NAMESPACE = "PATCHSTACK_TEST_IN_NAMESPACE"

STAGED = ".staged/"
PLAN = STAGED + "plan.json"

Files = dict[str, bytes]


def start(sandbox: Sandbox, name: str) -> "subprocess.Popen[str]":
    """Start a door as a process group of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / f"{name}.py")],
        cwd=sandbox.root,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def runtime(sandbox: Sandbox, name: str) -> float:
    """Seconds that a door takes to its successful end."""
    began = time.monotonic()
    sandbox.opens(name)
    return time.monotonic() - began


def delays(seed: int, seconds: float) -> list[float]:
    """A random moment in each of `KILLS` equal parts of a runtime: none stays untried."""
    draw = random.Random(seed)
    return [seconds * (part + draw.random()) / KILLS for part in range(KILLS)]


def kill_after(sandbox: Sandbox, name: str, delay: float) -> None:
    door = start(sandbox, name)
    time.sleep(delay)
    # Not yet waited for, so the group still exists even where the door has ended.
    os.killpg(door.pid, signal.SIGKILL)
    door.communicate()


def settles(sandbox: Sandbox, allowed: tuple[dict[str, str], ...]) -> None:
    """The refs are, or soon become, one of `allowed`.

    The engine lets git end the transaction that moves refs after its own death: what git
    shows between is neither the old state nor the new one, and lasts milliseconds.
    """
    deadline = time.monotonic() + PATIENCE_S
    while (refs := sandbox.refs()) not in allowed and time.monotonic() < deadline:
        time.sleep(0.01)
    assert refs in allowed


def completed(patches: Files) -> Files:
    """patches/ after what stands complete under .staged/ is carried out, done by hand."""
    visible = {name: data for name, data in patches.items() if not name.startswith(STAGED)}
    if PLAN not in patches:
        return visible
    plan = json.loads(patches[PLAN])
    staged = {name: patches[STAGED + name] for name in plan["write"] if STAGED + name in patches}
    return {name: data for name, data in (visible | staged).items() if name not in plan["delete"]}


def edited(sandbox: Sandbox) -> Sandbox:
    """A rewritten commit and a new one: the export writes three files and deletes one."""
    sandbox.switch("perf/core")
    sandbox.commit(
        "[core] Exact, reworded", {"metaflow/version.py": 'metaflow_version = "2"\n'}, "--amend"
    )
    sandbox.commit("Add a step", {"metaflow/extra.py": "extra = 1\n"})
    sandbox.leave()
    return sandbox


@pytest.mark.parametrize("kind", ["submodule", "sdist"])
def test_killed_apply(make_sandbox: Callable[..., Sandbox], kind: str) -> None:
    done = make_sandbox(kind, applied=False, name="done")
    whole = runtime(done, "apply_patches")
    shutil.rmtree(done.root)
    expected = make_sandbox(kind, applied=True, name="expected").refs()
    # Half of the kills for each kind of source; the other kind has the other moments.
    mine = delays(2, whole)[kind == "sdist" :: 2]
    for number, delay in enumerate(mine):
        sandbox = make_sandbox(kind, applied=False, name=f"kill {number}")
        patches = sandbox.patches()
        old = sandbox.refs() if kind == "submodule" else {}
        kill_after(sandbox, "apply_patches", delay)
        assert sandbox.patches() == patches
        if sandbox.tree.is_dir():
            made = {"refs/patchstack/sdist": expected.get("refs/patchstack/sdist", "")}
            settles(sandbox, (old if kind == "submodule" else made, expected))
        sandbox.opens("apply_patches")
        assert sandbox.refs() == expected
        assert sandbox.git("status", "--porcelain") == ""
        assert not list((sandbox.project.build / "tmp").glob("*"))


def dies_at(at: int, counts: Callable[..., bool], act: Callable[[], object]) -> bool:
    """Act in a child that is killed before the audited event number `at` that counts; was it?

    Python tells an audit hook of each change of the file system, and of each process, before it is
    made, so this stops the engine's own code between any two, whatever they are. A hook cannot be
    taken out again: the child is a process of its own.
    """
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event: str, args: tuple[object, ...]) -> None:
            nonlocal count
            if counts(event, *args):
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1

        try:
            sys.addaudithook(hook)
            act()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WIFSIGNALED(status)
    return status != 0


def apply_and_die(sandbox: Sandbox, at: int) -> bool:
    """Apply in a child that is killed before it moves refs for the time `at`; was it?"""

    def moves_refs(event: str, *args: object) -> bool:
        return event == "subprocess.Popen" and "update-ref" in str(args[1])

    return dies_at(at, moves_refs, sandbox.apply)


def test_refs_move_together(make_sandbox: Callable[..., Sandbox]) -> None:
    """A kill between two moves would leave half of them: random moments rarely meet it."""
    expected = make_sandbox("submodule", applied=True, name="expected").refs()
    at, killed = 0, True
    while killed:
        sandbox = make_sandbox("submodule", applied=False, name=f"kill {at}")
        old = sandbox.refs()
        killed = apply_and_die(sandbox, at)
        assert sandbox.refs() in (old, expected)
        at += 1
    assert at > 1  # it moves refs at all


def moved(sandbox: Sandbox) -> dict[str, str]:
    """All refs but the record of what an export was in step with, which it may write."""
    return {name: sha for name, sha in sandbox.refs().items() if not name.endswith("/in-step")}


def test_killed_export(make_sandbox: Callable[..., Sandbox]) -> None:
    done = edited(make_sandbox("submodule", name="done"))
    old_files, refs = done.patches(), moved(done)
    whole = runtime(done, "export_patches")
    new_files = done.patches()
    assert old_files != new_files
    assert moved(done) == refs  # only files change
    for number, delay in enumerate(delays(3, whole)):
        sandbox = edited(make_sandbox("submodule", name=f"kill {number}"))
        kill_after(sandbox, "export_patches", delay)
        assert moved(sandbox) == refs
        assert completed(sandbox.patches()) in (old_files, new_files)
        sandbox.opens("export_patches")
        assert sandbox.patches() == new_files
        assert moved(sandbox) == refs
    sandbox.opens("apply_patches")
    assert sandbox.check().same


def test_locks_of_a_killed_git_do_not_block(sandbox: Sandbox) -> None:
    """A lock that git leaves when it dies where the contributor works: HEAD and the index.

    The engine has no business with either, so it neither waits for them nor removes them.
    """
    sandbox.switch("perf/lone")
    sandbox.commit("Add a step", {"metaflow/extra.py": "extra = 1\n"})
    sandbox.leave()
    locks = [sandbox.git_folder / name for name in ("HEAD.lock", "index.lock", "config.lock")]
    for lock in locks:
        lock.touch()
    sandbox.opens("export_patches")
    sandbox.opens("apply_patches")
    assert sandbox.subjects("lone")[-1] == "Add a step"
    assert sandbox.check().same
    assert all(lock.is_file() for lock in locks)


def swap_and_die(sandbox: Sandbox, write: Files, delete: set[str], at: int) -> bool:
    """Swap patches/ in a child that is killed before its change number `at`; was it?"""
    patches = sandbox.project.patches

    def changes_patches(event: str, *args: object) -> bool:
        changes = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")
        return event in changes and str(args[0]).startswith(str(patches))

    def swap() -> None:
        _stage(
            sandbox.project,
            {patches / name: data for name, data in write.items()},
            {patches / name for name in delete},
        )
        finish_interrupted_swap(sandbox.project)

    return dies_at(at, changes_patches, swap)


def test_swap_interrupted_anywhere(make_sandbox: Callable[..., Sandbox]) -> None:
    done = edited(make_sandbox("submodule", name="done"))
    old = done.patches()
    done.opens("export_patches")
    new = done.patches()
    write = {name: data for name, data in new.items() if old.get(name) != data}
    delete = set(old) - set(new)
    assert (len(write), len(delete)) == (3, 1)
    seen: list[Files] = []
    at, killed, planned = 0, True, False
    while killed:
        sandbox = make_sandbox("submodule", name=f"swap {at}")
        killed = swap_and_die(sandbox, write, delete, at)
        state = sandbox.patches()
        planned = planned or PLAN in state
        assert completed(state) == (new if planned else old)
        # Removing the temporary folders afterwards changes nothing here: one run is enough.
        if state not in seen:
            sandbox.opens("apply_patches")
            assert sandbox.patches() == (new if planned else old)
            assert not (sandbox.project.patches / ".staged").exists()
            assert sandbox.check().same
            seen.append(state)
        at += 1
    # Nothing staged, each of three files and the plan, each of three writes, the deletion, the end.
    assert len(seen) >= 9


@pytest.mark.parametrize("kind", ["submodule", "sdist"])
def test_two_applies_at_once(make_sandbox: Callable[..., Sandbox], kind: str) -> None:
    expected = make_sandbox(kind, applied=True, name="expected").refs()
    sandbox = make_sandbox(kind, applied=False)
    doors = [start(sandbox, "apply_patches") for _ in range(2)]
    for door in doors:
        _, err = door.communicate()
        assert door.returncode == 0, err
    assert sandbox.refs() == expected


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A tmpfs of `DISK_BYTES` on `folder`; `PermissionError` where we may not mount."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise PermissionError(str(error)) from None
    if done.returncode:
        raise PermissionError(done.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def rerun_where_mounts_are_allowed(request: pytest.FixtureRequest, why: str) -> None:
    """Run the test again as root of a user namespace of its own; skip where there is none."""
    if IN_NAMESPACE in os.environ or shutil.which("unshare") is None:
        pytest.skip(f"cannot mount a small tmpfs: {why}")
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    allowed = subprocess.run([*unshare, "true"], capture_output=True, text=True)
    if allowed.returncode:
        pytest.skip(f"cannot mount a small tmpfs: {why}; {allowed.stderr.strip()}")
    name = f"{request.path}::{request.node.name}"
    again = subprocess.run(
        [*unshare, sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", name],
        cwd=ROOT,
        env=os.environ | {IN_NAMESPACE: "1"},
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    if "1 passed" not in again.stdout:
        pytest.skip(f"cannot mount a small tmpfs: {again.stdout.strip().splitlines()[-2]}")


def fill(folder: Path, leave: int) -> Path:
    """Fill the file system of `folder` to the last block, but for `leave` bytes."""
    file = folder / "full"
    with file.open("wb", buffering=0) as target:
        try:
            while True:
                target.write(b"\0" * BLOCK_BYTES)
        except OSError:
            target.truncate(max(0, target.tell() - leave))
    return file


@pytest.mark.parametrize("name", ["apply_patches", "export_patches"])
def test_full_disk(
    make_sandbox: Callable[..., Sandbox],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    name: str,
) -> None:
    made = make_sandbox("submodule", applied=name == "export_patches", name="made")
    if name == "export_patches":
        edited(made)
    disk = tmp_path / "disk"
    try:
        with small_disk(disk):
            fail_then_succeed(made, disk, name)
    except PermissionError as error:
        rerun_where_mounts_are_allowed(request, str(error))


def fail_then_succeed(made: Sandbox, disk: Path, name: str) -> None:
    # No block at all, then more of them, so that later and later steps find the disk full.
    for number, blocks in enumerate((0, 32)):
        shutil.copytree(made.root, disk / "project", symlinks=True)
        sandbox = Sandbox(disk / "project", made.kind)
        heads, refs, patches = sandbox.branches(), sandbox.refs(), sandbox.patches()
        ballast = fill(disk, blocks * BLOCK_BYTES)
        ended = sandbox.door(name)
        if ended.code or not number:
            assert ended.code == 1, ended
            assert ended.err.startswith(f"{name}: "), ended.err
            assert ended.err.count("\n") == 1, ended.err
            assert "space" in ended.err.lower(), ended.err
            assert not list((sandbox.project.build / "tmp").glob("*"))
            assert sandbox.refs() == refs
            assert sandbox.patches() == patches
        ballast.unlink()
        sandbox.opens(name)
        assert set(heads.items()) <= set(sandbox.branches().items())
        sandbox.opens("apply_patches")
        assert sandbox.check().same
        if name == "export_patches":
            assert sandbox.subjects("core")[1:] == ["[core] Exact, reworded", "Add a step"]
        shutil.rmtree(sandbox.root)


def test_no_network(make_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = make_sandbox("sdist", applied=False)
    archive = sandbox.project.build / "sdist" / f"metaflow-{RELEASE}.tar.gz"
    data = archive.read_bytes()
    shutil.rmtree(sandbox.project.build)
    patches = sandbox.patches()
    with socket.socket() as unheard:
        # Bound and never listening: nobody else can open this port while the door tries it.
        unheard.bind(("127.0.0.1", 0))
        index = f"http://127.0.0.1:{unheard.getsockname()[1]}/simple/"
        for name in ("apply_patches", "export_patches"):
            line = sandbox.refused(name, PIP_INDEX_URL=index)
            assert "check the network" in line
            assert "initialize the submodule" in line
            assert [file.name for file in sandbox.project.build.rglob("*")] == ["lock"]
    assert sandbox.patches() == patches
    # The other way out, for machines without any network: the archive, brought by hand.
    archive.parent.mkdir()
    archive.write_bytes(data)
    sandbox.opens("apply_patches")


def test_wrong_sha256_of_the_cached_sdist(make_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = make_sandbox("sdist", applied=False)
    archive = sandbox.project.build / "sdist" / f"metaflow-{RELEASE}.tar.gz"
    data = archive.read_bytes()
    archive.write_bytes(data + b"\0")
    line = sandbox.refused("apply_patches")
    assert f"build/sdist/{archive.name}" in line
    assert sandbox.series().pin.sdist_sha256 in line
    assert "delete the file" in line
    assert not sandbox.tree.exists()
    assert archive.read_bytes() == data + b"\0"
    archive.write_bytes(data)
    sandbox.opens("apply_patches")


def lose_git_folder(tree: Path) -> None:
    shutil.rmtree(tree / ".git")


def lose_head(tree: Path) -> None:
    (tree / ".git" / "HEAD").unlink()


def lose_refs(tree: Path) -> None:
    shutil.rmtree(tree / ".git" / "refs")
    (tree / ".git" / "refs").mkdir()
    (tree / ".git" / "packed-refs").unlink(missing_ok=True)


def lose_objects(tree: Path) -> None:
    shutil.rmtree(tree / ".git" / "objects")
    (tree / ".git" / "objects").mkdir()


@pytest.mark.parametrize("damage", [lose_git_folder, lose_head, lose_refs, lose_objects])
def test_damaged_upstream(sdist: Sandbox, damage: Callable[[Path], None]) -> None:
    # As in real life, where git looks further up and finds the project's own repository.
    subprocess.run(["git", "init", "--quiet"], cwd=sdist.root, check=True)
    expected = sdist.refs()
    damage(sdist.tree)
    line = sdist.refused("apply_patches")
    assert f"build/upstream/{RELEASE} is damaged: move it away" in line
    shutil.rmtree(sdist.tree)
    sdist.opens("apply_patches")
    assert sdist.refs() == expected
