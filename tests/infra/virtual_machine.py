"""A machine that cloud-init sets up from nothing: Debian 13 in namespaces of its own.

It stands in for an Ubuntu 24.04 of Azure. The real cloud-init of a current release runs the real
cloud-config, all four stages, and the real sshd lets in the key that az sent. What differs: no
kernel and no systemd of its own, Debian's Python 3.13 instead of 3.12, and NoCloud as the source
of what Azure tells a machine.
"""

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
# In the namespaces, before the change of root. Devices of the disk are not among those given.
OUTSIDE = """
set -e
cd "$1"
mount --make-rprivate /
mount -t proc proc proc
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs dev
mkdir dev/shm dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
for device in null zero full random urandom tty; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
# It reaches the network, and trusts whom this machine trusts.
cp -L /etc/resolv.conf etc/resolv.conf
mount --bind /etc/ssl/certs etc/ssl/certs
exec chroot . /bin/sh -c "$2"
"""
# Inside, what systemd does at boot, in its order: ssh is up before the machine is set up. Without
# a PidFile: cloud-init restarts the ssh that systemd knows, and there is none.
BOOT = """
cloud-init init --local
cloud-init init
mkdir -p /run/sshd
(cloud-init modules --mode=config; cloud-init modules --mode=final) &
exec /usr/sbin/sshd -D -e -p {port} -o ListenAddress=127.0.0.1 -o PidFile=none
"""
# What Azure's data source does on Azure; and the disk of this machine is not for resizing.
CONFIG = """
datasource_list: [NoCloud]
network: {{config: disabled}}
growpart: {{mode: "off"}}
resize_rootfs: false
system_info: {{default_user: {{name: {user}}}}}
"""


def make_root(mmdebstrap: str, folder: Path) -> Path:
    """What an image has before cloud-init runs."""
    packages = "ca-certificates,cloud-init,openssh-server,sudo,systemd"
    command = [mmdebstrap, "--quiet", "--variant=apt", f"--include={packages}"]
    subprocess.run([*command, "trixie", str(folder)], check=True, stdin=subprocess.DEVNULL)
    return folder


class VirtualMachine:
    def __init__(self, root: Path, port: int) -> None:
        self.root, self.port = root, port
        self.process: subprocess.Popen[bytes] | None = None
        self.log = root.with_name("console.log")
        # Changes to the cloud-config that it is given: from what to what.
        self.changes: dict[str, str] = {}

    def switch(self, vm: dict[str, Any], on: bool) -> None:
        if not on:
            return self.off()
        if not (self.root / "var" / "lib" / "cloud" / "seed").exists():
            self._seed(vm["location"], vm["properties"])
        return self.on()

    def _seed(self, region: str, vm: dict[str, Any]) -> None:
        """Give it what the template of its VM says."""
        profile = vm["osProfile"]
        keys = profile["linuxConfiguration"]["ssh"]["publicKeys"]
        size = vm["hardwareProfile"]["vmSize"]
        about = {
            "instance-id": "one",
            "local-hostname": profile["computerName"],
            "public-keys": [key["keyData"] for key in keys],
            "imds": {"compute": {"vmSize": size, "location": region}},
        }
        user_data = base64.b64decode(profile["customData"]).decode()
        for before, after in self.changes.items():
            assert user_data.count(before) == 1
            user_data = user_data.replace(before, after)
        seed = self.root / "var" / "lib" / "cloud" / "seed" / "nocloud"
        seed.mkdir(parents=True)
        (seed / "meta-data").write_text(json.dumps(about))
        (seed / "user-data").write_text(user_data)
        trust = "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt\n"
        (self.root / "etc" / "environment").write_text(trust)
        config = self.root / "etc" / "cloud" / "cloud.cfg.d" / "99-test.cfg"
        config.write_text(CONFIG.format(user=profile["adminUsername"]))

    def on(self) -> None:
        namespaces = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child"]
        inside = BOOT.format(port=self.port)
        command = [*namespaces, "sh", "-c", OUTSIDE, "sh", str(self.root), inside]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def off(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the root, whether it is on or off."""
        return subprocess.run(
            ["chroot", str(self.root), *command],
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
