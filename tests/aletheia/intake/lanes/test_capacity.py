"""How many tasks may wait in a lane."""

from aletheia.intake.poller import Poller
from tests.aletheia.intake.lanes.conftest import LaneBench


async def test_a_full_lane_leaves_tasks_pending_upstream(bench: LaneBench):
    for number in range(5):
        bench.add(f"t{number}", f"text {number}")
    ledger = bench.ledger()
    await bench.drain(Poller(bench.client, ledger, bench.processors, lane_max_waiting=3))
    assert await bench.states() == {f"t{n}": "queued" for n in range(3)}
    assert bench.upstream.tasks["t3"].state == "pending"
    await bench.work()
    await bench.drain(Poller(bench.client, ledger, bench.processors, lane_max_waiting=3))
    await bench.work()
    assert all(task.state == "succeeded" for task in bench.upstream.tasks.values())
