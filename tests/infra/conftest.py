"""A checkout whose script talks to the real az, and that to an Azure of one's own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from resource_manager import Json, ResourceManager
from sandbox import ROOT, Ended, require
from uv import find_uv_bin
from virtual_machine import VirtualMachine, make_root

AZ = "azure-cli==2.91.0"
BATS = "bats@1.13.0"


@pytest.fixture(scope="session")
def bats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of bats under build/, installed with npm on first use."""
    folder = ROOT / "build" / BATS
    if not folder.is_dir():
        if shutil.which("npm") is None:
            require("bats needs npm, which is not installed")
        new = tmp_path_factory.mktemp("bats")
        npm = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(new), BATS]
        done = subprocess.run(npm, capture_output=True, text=True, check=False)
        if done.returncode:
            require(f"npm could not install {BATS}: {done.stderr.strip()[-200:]}")
        folder.parent.mkdir(exist_ok=True)
        shutil.copytree(new, folder, symlinks=True)
    return folder / "node_modules" / "bats" / "bin" / "bats"


@dataclass(frozen=True)
class Caller:
    """Someone with a checkout, a key, and the real az."""

    checkout: Path
    key: Path
    # Where 127.0.0.1 has its sshd: the caller's ssh knows it, the script does not.
    port: int
    env: dict[str, str]

    def start(self, *args: str) -> "subprocess.Popen[str]":
        options = ["--key", f"{self.key}.pub", "--from", "192.0.2.7"]
        return subprocess.Popen(
            ["infra/vm-manage.sh", args[0], *options, *args[1:]],
            cwd=self.checkout,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *args: str) -> Ended:
        started = self.start(*args)
        out, err = started.communicate()
        return Ended(started.returncode, out, err)

    def does(self, *args: str) -> Ended:
        ended = self.run(*args)
        assert ended.code == 0, ended
        return ended

    def refused(self, *args: str) -> str:
        ended = self.run(*args)
        assert ended.code == 1, ended
        lines = [line for line in ended.err.splitlines() if line.startswith("vm-manage: ")]
        assert lines == ended.err.splitlines()[-1:], ended
        return lines[0].removeprefix("vm-manage: ")

    def loses_connection(self, *args: str, after: str) -> None:
        """Kill the script and its ssh once a line says `after`."""
        started = self.start(*args)
        assert started.stdout
        line = "start"
        while after not in line:
            line = started.stdout.readline()
            assert line, started.communicate()
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()

    def az(self, *args: str) -> None:
        subprocess.run(["az", *args], env=self.env, capture_output=True, check=True)


def free_port() -> int:
    """Not one of those that connections get: it must be free later, and again."""
    for port in range(22000, 32000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def write_command(file: Path, line: str) -> None:
    file.write_text(f'#!/bin/sh\nexec {line} "$@"\n')
    file.chmod(0o755)


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Caller:
    """A caller who is not logged in; the checkout holds what is in the work tree now."""
    for tool in ("ssh", "ssh-keygen", "openssl"):
        if shutil.which(tool) is None:
            require(f"{tool} is not installed")
    folder = tmp_path_factory.mktemp("caller")
    checkout, key, commands = folder / "checkout", folder / "key", folder / "commands"
    git = ["git", "-C", str(ROOT)]
    stash = subprocess.run([*git, "stash", "create"], capture_output=True, text=True, check=True)
    now = stash.stdout.strip() or "HEAD"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True)
    subprocess.run([*git, "push", "--quiet", str(checkout), f"{now}:refs/heads/now"], check=True)
    subprocess.run(["git", "checkout", "--quiet", "now"], cwd=checkout, check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    port = free_port()
    config = folder / "ssh_config"
    hosts = folder / "known_hosts"
    config.write_text(
        f"Port {port}\nIdentityFile {key}\nUserKnownHostsFile {hosts}\n"
        "StrictHostKeyChecking accept-new\n"
    )
    commands.mkdir()
    write_command(commands / "az", f"{find_uv_bin()} tool run --quiet --from {AZ} az")
    write_command(commands / "ssh", f"{shutil.which('ssh')} -F {config}")
    (commands / "uv").symlink_to(find_uv_bin())
    env = dict(os.environ) | {
        "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
        "AZURE_CONFIG_DIR": str(folder / "azure"),
        "AZURE_CORE_COLLECT_TELEMETRY": "no",
    }
    for name in ("VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"):  # az is slow without bytecode
        env.pop(name, None)
    done = subprocess.run(["az", "version"], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        require(f"uv could not install {AZ}: {done.stderr.strip()[-200:]}")
    return Caller(checkout, key, port, env)


@dataclass
class Cloud:
    """An Azure, what it was told to switch on and off, and the machine that it switches."""

    azure: ResourceManager
    switched: list[bool] = field(default_factory=list)
    machine: VirtualMachine | None = None


@pytest.fixture(scope="session")
def _cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    def power(vm: Json, on: bool) -> None:
        cloud.switched.append(on)
        if cloud.machine:
            cloud.machine.switch(vm, on)

    cloud = Cloud(ResourceManager(tmp_path_factory.mktemp("azure"), power))
    cloud.azure.start()
    yield cloud
    cloud.azure.stop()


@pytest.fixture(scope="session")
def _logged_in(stranger: Caller, _cloud: Cloud) -> Caller:
    azure = _cloud.azure
    caller = Caller(
        stranger.checkout,
        stranger.key,
        stranger.port,
        stranger.env
        | azure.environment
        | {"AZURE_CONFIG_DIR": stranger.env["AZURE_CONFIG_DIR"] + "-in"},
    )
    endpoints = [f"--endpoint-{name}={azure.url}" for name in azure.ENDPOINTS]
    caller.az("cloud", "register", "--name=Own", "--skip-endpoint-discovery", *endpoints)
    caller.az("cloud", "set", "--name=Own")
    caller.az("login", "--identity")
    return caller


@pytest.fixture
def cloud(_cloud: Cloud) -> Cloud:
    """An empty subscription."""
    _cloud.azure.clear()
    _cloud.switched.clear()
    _cloud.machine = None
    return _cloud


@pytest.fixture
def caller(_logged_in: Caller, cloud: Cloud) -> Caller:
    """Who is logged in to an empty subscription."""
    assert not cloud.azure.resources
    return _logged_in


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The disk of a machine that never ran."""
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a machine of one's own needs root on Linux")
    tool = shutil.which("mmdebstrap") or str(ROOT / "build/mmdebstrap/usr/bin/mmdebstrap")
    if not Path(tool).exists():
        require("mmdebstrap is not installed: .ci/mmdebstrap brings it")
    return make_root(tool, tmp_path_factory.mktemp("image") / "root")


@pytest.fixture
def machine(image: Path, caller: Caller, cloud: Cloud, tmp_path: Path) -> Iterator[VirtualMachine]:
    """The machine that stands in for the VM."""
    root = tmp_path / "root"
    subprocess.run(["cp", "--archive", "--reflink=auto", image, root], check=True)
    machine = cloud.machine = VirtualMachine(root, caller.port)
    yield machine
    machine.off()
    shutil.rmtree(root)
