"""Peers: a table from the rows alone."""

from observations import observe

from bench.peers import NOTHING, peers_block
from bench.results import Row
from bench.statistics import select_newest


def rows() -> list[Row]:
    ratios = {"patched": 0.1, "joblib": 0.02, "Prefect": 0.3}
    found = []
    for workload in ("peers save", "peers load"):
        found += observe(ratios, workload=workload, store="tmpfs")
    for workload, metric in (("peers save", "deduplicated"), ("peers load", "noticed")):
        for row in observe(ratios, workload=workload, store="tmpfs", metric=metric, unit="1"):
            value = 1.0 if row.arm in ("stock", "stock-again", "patched") else 0.25
            found.append(Row(**{**vars(row), "value": value}))
    return [
        Row(**{**vars(row), "libraries": "joblib=1.6.0"}) if row.arm == "joblib" else row
        for row in found
    ]


def test_what_was_not_measured_is_said() -> None:
    assert peers_block(observe({"patched": 1.0})) == NOTHING


def test_peers_stand_beside_ours_with_what_the_time_buys() -> None:
    block = peers_block(select_newest(rows()).rows)
    lines = [line for line in block.splitlines() if line.startswith("| ")]
    names = [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]]
    assert names == ["joblib 1.6.0", "Metaflow, patched", "Prefect", "Metaflow, stock"]
    joblib, ours = lines[2].split(" | "), lines[3].split(" | ")
    assert joblib[2].startswith(("0.19", "0.20"))
    assert joblib[-2:] == ["25%", "25% |"]
    assert ours[2] == ""
    assert ours[-2:] == ["100%", "100% |"]


def test_the_block_says_who_does_more_than_to_write_a_pickle_down() -> None:
    shares = {"joblib": 0.7, "Prefect": 0.95}
    stored = [
        Row(**{**vars(row), "metric": "stored", "unit": "B", "value": row.bytes * shares[row.arm]})
        for row in rows()
        if (row.workload, row.metric) == ("peers save", "time") and row.arm in shares
    ]
    block = peers_block(select_newest(rows() + stored).rows)
    assert (
        "Of the others, make it smaller: joblib; see all damage: none; save no second copy: none. "
        "With model weights, joblib save: ahead of ours; joblib load: ahead of ours."
    ) in block
