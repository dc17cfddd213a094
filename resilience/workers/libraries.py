"""Whole objects, in an environment with another library: `libraries.py CORPUS FOLDER FAULT HAS`.

With HAS "yes" all must be read. Without, LZ4 may be refused by an error that names the object; what
the arm writes must be read in any case.
"""

import sys
from pathlib import Path

from corpus import CONTENTS, FORMATS, open_store, read_corpus, save
from tally import FINISHED, READS, Tally, judge


def main(corpus: Path, root: Path, fault: str, has: bool) -> None:
    tally = Tally()
    for format in FORMATS:
        store = open_store(corpus / format)
        for sample in read_corpus(corpus, format):
            promise = FINISHED if has or format != "LZ4" else READS
            found = judge(store, sample.key, sample.content, promise)
            tally.add(promise, f"{fault}: read", format, found)
    store = open_store(root)
    for contents in CONTENTS.values():
        for content in contents:
            key = save(store, content)
            found = judge(store, key, content, FINISHED)
            tally.add(FINISHED, f"{fault}: written", "as the arm writes", found)
    tally.print()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4] == "yes")
