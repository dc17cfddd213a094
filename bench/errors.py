"""What can go wrong in a measurement or a report, in ways a user can mend."""


class BenchError(Exception):
    """An expected failure: one line that says what happened and what to do next."""
