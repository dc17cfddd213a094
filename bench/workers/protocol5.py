"""Pickle artifacts with protocol 5 in place of 4: what a patch could gain by it.

An object that has buffers then hands them to the file as they are (PEP 574), whatever library it
is of. They stay within the pickle: nothing else fits into one stored object. The label stays that
of protocol 4, or no reader would take it; a release would need a label of its own.
"""

import pickle
from typing import Any


def switch_on() -> None:
    """From here on, for the whole process. Only where topic `save-memory` is applied."""
    from metaflow.plugins.datastores.serializers import pickle_serializer

    pickle_serializer.dump = dump


class Pieces:
    """A file that keeps what is written to it, without copies of buffers and of large bytes."""

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []

    def write(self, data: Any) -> int:
        if isinstance(data, pickle.PickleBuffer):
            data = data.raw()
        elif type(data) is not bytes:  # memory of the pickler's own
            data = bytes(data)
        self.pieces.append(data)
        return len(data)


def dump(obj: Any) -> Any:
    from metaflow.datastore.blob_pieces import BlobPieces
    from metaflow.datastore.pickle_pieces import MIN_SIZE

    file = Pieces()
    pickle.Pickler(file, protocol=5).dump(obj)
    if sum(map(len, file.pieces)) < MIN_SIZE:
        return b"".join(file.pieces)
    return BlobPieces(file.pieces)
