"""Say which Metaflow `import metaflow` finds in this environment, and what its files are.

Imports nothing that would load more of Metaflow than a user's import does.
"""

import hashlib
import json
from pathlib import Path

import metaflow


def digest(package: Path) -> str:
    """One hash of all Python files of a package, by path and content."""
    found = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        found.update(f"{file.relative_to(package)}\0".encode())
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


if __name__ == "__main__":
    package = Path(metaflow.__file__).parent
    print(json.dumps({"metaflow": metaflow.__file__, "digest": digest(package)}))
