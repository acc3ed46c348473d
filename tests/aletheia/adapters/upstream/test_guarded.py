"""The upstream behind a breaker."""

import pytest

from aletheia.adapters.upstream.client import GuardedUpstream
from aletheia.documents import Documents
from aletheia.errors import AletheiaError, BreakerOpen, Conflict, Refused, Unavailable
from aletheia.resilience.breaker import CircuitBreaker, State
from tests.aletheia.resilience.conftest import Clock, clock, documents, mongodb_uri

__all__ = ["clock", "documents", "mongodb_uri"]

DOWN = Unavailable("upstream", "connection lost")


class FakeUpstream:
    """An upstream whose answers are set in advance."""

    def __init__(self) -> None:
        self.answers: list[AletheiaError] = []
        self.calls = 0

    async def pending(self, limit: int) -> list[object]:
        await self._answer()
        return [limit]

    async def report(self, task_id: str, body: bytes) -> None:
        del task_id, body
        await self._answer()

    async def _answer(self) -> None:
        self.calls += 1
        if self.answers:
            raise self.answers.pop(0)


class Scene:
    """Two pollers before one upstream."""

    def __init__(self, documents: Documents, clock: Clock) -> None:
        self.upstream = FakeUpstream()
        self.breakers = CircuitBreaker(documents, threshold=3, cooldown_s=60, clock=clock.both)
        self.one, self.other = (GuardedUpstream(self.upstream, self.breakers) for _ in range(2))

    async def fail(self, guarded: GuardedUpstream, times: int) -> None:
        for _ in range(times):
            self.upstream.answers = [DOWN]
            with pytest.raises(Unavailable):
                await guarded.report("t", b"{}")

    async def state(self) -> State:
        found = await self.breakers.states()
        return found[0].state if found else State.CLOSED


@pytest.fixture
def scene(documents: Documents, clock: Clock) -> Scene:
    return Scene(documents, clock)


async def test_reports_that_fail_in_a_row_open_it_for_every_poller(scene: Scene):
    await scene.one.pending(10)
    await scene.fail(scene.one, 3)
    calls = scene.upstream.calls
    for asking in (scene.one.report("t", b"{}"), scene.one.pending(1), scene.other.pending(1)):
        with pytest.raises(BreakerOpen):
            await asking
    assert scene.upstream.calls == calls


async def test_failures_of_several_pollers_add_up(scene: Scene):
    await scene.fail(scene.one, 2)
    await scene.fail(scene.other, 1)
    assert await scene.state() is State.OPEN


async def test_a_success_between_starts_the_count_anew(scene: Scene):
    await scene.fail(scene.one, 2)
    await scene.one.report("t", b"{}")
    await scene.fail(scene.one, 2)
    assert await scene.state() is State.CLOSED


async def test_a_page_is_the_probe_that_closes_it(scene: Scene, clock: Clock):
    await scene.fail(scene.one, 3)
    clock.move(seconds=61)
    assert await scene.one.pending(5) == [5]
    assert await scene.state() is State.CLOSED
    await scene.one.report("t", b"{}")
    await scene.fail(scene.one, 2)
    await scene.other.pending(1)
    assert await scene.state() is State.CLOSED


@pytest.mark.parametrize("answer", [Conflict("upstream", 409), Refused("upstream", 400)])
async def test_an_answer_against_a_report_is_no_failure(scene: Scene, answer: AletheiaError):
    for _ in range(4):
        scene.upstream.answers = [answer]
        with pytest.raises(type(answer)):
            await scene.one.report("t", b"{}")
    assert await scene.state() is State.CLOSED


async def test_a_report_that_goes_well_looks_nowhere(scene: Scene, documents: Documents):
    await scene.one.pending(1)
    await documents.close()
    await scene.one.report("t", b"{}")


async def test_after_the_cooldown_one_report_tries_and_the_others_wait(scene: Scene, clock: Clock):
    await scene.fail(scene.one, 3)
    clock.move(seconds=61)
    calls = scene.upstream.calls
    await scene.fail(scene.one, 1)
    for guarded in (scene.one, scene.other):
        with pytest.raises(BreakerOpen):
            await guarded.report("t", b"{}")
    assert scene.upstream.calls == calls + 1


async def test_a_poller_that_has_just_started_asks_before_its_first_report(scene: Scene):
    await scene.fail(scene.one, 3)
    calls = scene.upstream.calls
    with pytest.raises(BreakerOpen):
        await scene.other.report("t", b"{}")
    assert scene.upstream.calls == calls


async def test_a_probe_page_that_fails_keeps_reports_away(scene: Scene, clock: Clock):
    await scene.fail(scene.one, 3)
    clock.move(seconds=61)
    scene.upstream.answers = [DOWN]
    with pytest.raises(Unavailable):
        await scene.one.pending(1)
    with pytest.raises(BreakerOpen):
        await scene.one.report("t", b"{}")


async def test_a_server_for_sign_in_that_is_away_is_called_by_its_name(scene: Scene):
    away = Unavailable("sign-in", "connection lost")
    await scene.one.pending(10)
    for _ in range(3):
        scene.upstream.answers = [away]
        with pytest.raises(Unavailable):
            await scene.one.report("t", b"{}")
    calls = scene.upstream.calls
    for asking in (scene.one.report("t", b"{}"), scene.other.pending(1)):
        with pytest.raises(BreakerOpen, match="sign-in"):
            await asking
    assert scene.upstream.calls == calls
    states = {found.dependency: found.state for found in await scene.breakers.states()}
    assert states["sign-in"] is State.OPEN
    assert states.get("upstream", State.CLOSED) is State.CLOSED


async def test_a_probe_that_signs_in_closes_its_breaker_whatever_the_upstream_answers(
    scene: Scene, clock: Clock
):
    for _ in range(3):
        scene.upstream.answers = [Unavailable("sign-in", "connection lost")]
        with pytest.raises(Unavailable):
            await scene.one.pending(1)
    clock.move(seconds=61)
    scene.upstream.answers = [Refused("upstream", 404, "no")]
    with pytest.raises(Refused):
        await scene.one.pending(1)
    assert {found.state for found in await scene.breakers.states()} == {State.CLOSED}
    assert await scene.one.pending(1) == [1]
