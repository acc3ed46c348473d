from aletheia.documents import Documents
from aletheia.service.project_state import read_state
from tests.fakes.projects import PROJECT, add_events, begin_run, finish_run


async def test_a_project_that_nobody_knows_has_nothing(documents: Documents):
    state = await read_state(documents, "unknown")
    assert (state.last_seq, state.run) == (0, None)


async def test_the_newest_run_is_the_projects_state(documents: Documents):
    run = await begin_run(documents, "run-a")
    await finish_run(documents, run)
    await begin_run(documents, "run-b")
    await add_events(documents, 4)
    state = await read_state(documents, PROJECT)
    assert state.run is not None
    assert (state.last_seq, state.run.run_id, state.run.status) == (4, "run-b", "open")
    assert (state.run.iterations, state.run.max_iterations) == (1, 10)
    assert (state.run.items_created, state.run.closed_at, state.run.superseded_by) == (
        None,
        None,
        None,
    )
    legal = state.run.departments[0]
    assert (legal.items_kept, legal.items_generated, legal.qualities) == (7, 8, [40.0, 55.0])
