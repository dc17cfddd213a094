"""The command line of the script, by bats: no Azure, no machine, no seconds."""

import subprocess
from pathlib import Path


def test_the_command_line(bats: Path) -> None:
    suite = Path(__file__).with_name("vm_manage.bats")
    done = subprocess.run([bats, suite], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
