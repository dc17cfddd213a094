"""Which processes run, in which order, and whether they fit into the time given.

Rounds are outermost: what disturbs the machine for a minute then disturbs one round of many
cases, and not all rounds of one. Rounds run the arms forth and back in turn, so that what drifts,
drifts for all alike. When the first round has shown what everything costs, cases that can be
finished go on, in the order of the list, and the others get what time is left: six rounds of some
give verdicts (bench/statistics.py), three of all give none. What time is left after that goes into
more rounds of cases that have a use for them.
"""

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from bench.arms import Arm
from bench.results import Row
from bench.workloads import Case

# A guess for the first process of all, until there is one to go by.
PROCESS_SECONDS = 3.0


@dataclass(frozen=True)
class Step:
    """One process: a case measured by an arm, at a place in a round."""

    round: int
    position: int
    case: Case
    arm: Arm


Done = frozenset[tuple[str, str, str, str, int, int]]


def done_steps(rows: Collection[Row], session: str) -> Done:
    """What a session has measured, as `is_done` asks for it."""
    return frozenset(
        (row.workload, row.payload, row.store, row.arm, row.round, row.position)
        for row in rows
        if row.session == session
    )


def is_done(step: Step, done: Done) -> bool:
    """Rows of a process are added together, so one of them stands for all."""
    case = step.case
    place = (case.store, step.arm.name, step.round, step.position)
    return any((workload, case.payloads[0], *place) in done for workload in case.workloads)


def steps_of_round(case: Case, arms: Collection[Arm], number: int) -> tuple[Step, ...]:
    """The arms that measure this case: forth in even rounds, back in odd ones."""
    own = [arm for arm in arms if case.is_for(arm)]
    order = reversed(own) if number % 2 else own
    return tuple(Step(number, position, case, arm) for position, arm in enumerate(order))


class Schedule:
    """The steps of a session that are not done, in order; learns what they take as they run."""

    def __init__(
        self,
        cases: Collection[Case],
        arms: Collection[Arm],
        done: Done,
        end: float,
        on_short: Callable[[Case, int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`end` is a time of `clock`; `on_short` is told which case is left with how many
        rounds, for want of time."""
        self.cases, self.arms, self.done = cases, arms, done
        self.end, self.on_short, self.clock = end, on_short, clock
        # Seconds of a process of each case, measured.
        self.costs: dict[Case, float] = {}
        self.pending = {
            case: sum(len(self._missing(case, number)) for number in range(case.most_rounds))
            for case in cases
        }

    def _missing(self, case: Case, number: int) -> list[Step]:
        steps = steps_of_round(case, self.arms, number)
        return [step for step in steps if not is_done(step, self.done)]

    def _process_seconds(self, case: Case) -> float:
        known = self.costs.values()
        return self.costs.get(case, sum(known) / len(known) if known else PROCESS_SECONDS)

    def _seconds(self, case: Case) -> float:
        """What the pending steps of a case are expected to take."""
        return self.pending[case] * self._process_seconds(case)

    def _seconds_to_finish(self, case: Case, number: int) -> float:
        """The same, of the rounds that it needs."""
        steps = sum(len(self._missing(case, one)) for one in range(number, case.rounds))
        return steps * self._process_seconds(case)

    def seconds_left(self) -> float:
        """What is expected of all pending steps; at most the time given."""
        return max(0.0, min(sum(map(self._seconds, self.pending)), self.end - self.clock()))

    def steps(self) -> Iterator[Step]:
        """The steps to run; the time until the next one is asked for is what one took."""
        left, short = list(self.cases), dict[Case, int]()
        for number in range(max(case.rounds for case in self.cases)):
            left = [case for case in left if case.rounds > number]
            if number:
                left = self._affordable(left, number, short)
            for case in left:
                if self.clock() < self.end:
                    yield from self._round(case, number)
                else:
                    short.setdefault(case, number)
        yield from self._fill(short)
        for case, number in short.items():
            if number < case.rounds:
                self.on_short(case, number)
        yield from self._fill({case: case.rounds for case in self.cases if case not in short})
        self.pending.clear()

    def _fill(self, begun: dict[Case, int]) -> Iterator[Step]:
        """More rounds of cases, by the round each begins with, as long as there is time for one."""
        going = True
        while going:
            going = False
            for case, number in begun.items():
                missing = len(self._missing(case, number)) if number < case.most_rounds else 0
                seconds = missing * self._process_seconds(case)
                if number < case.most_rounds and self.clock() + seconds < self.end:
                    yield from self._round(case, number)
                    begun[case], going = number + 1, True

    def _round(self, case: Case, number: int) -> Iterator[Step]:
        missing = self._missing(case, number)
        begin = self.clock()
        for step in missing:
            self.pending[case] -= 1
            yield step
        if missing:
            self.costs[case] = (self.clock() - begin) / len(missing)

    def _affordable(
        self, cases: Collection[Case], number: int, short: dict[Case, int]
    ) -> list[Case]:
        """The cases whose pending steps fit into the time left, first come, first served; the
        others go to `short`, with the rounds they have."""
        seconds, kept = self.end - self.clock(), []
        for case in cases:
            cost = self._seconds_to_finish(case, number)
            if cost <= seconds:
                seconds -= cost
                kept.append(case)
            else:
                short.setdefault(case, number)
        return kept
