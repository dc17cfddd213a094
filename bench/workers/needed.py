"""Say which modules of the standard library `import metaflow` needs: a line that imports them.

The floor of import and flow asks the patched tree, untimed, and then times a bare Python with that
line. Of what stock loads, the series shows which modules are not needed to import Metaflow; the
time of its own code is what the floor leaves out. Modules stand in the order in which their imports
began, for some exist only inside of others.
"""

import sys

bare = set(sys.modules)
import metaflow  # noqa: E402, F401

loaded = [name for name in sys.modules if name not in bare]
needed = [name for name in loaded if name.partition(".")[0] in sys.stdlib_module_names]
print("import " + ", ".join(needed))
