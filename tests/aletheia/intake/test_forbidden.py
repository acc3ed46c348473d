"""A 403 about one task is told apart from one about us."""

from aletheia.errors import AletheiaError, Unauthorized
from aletheia.intake.forbidden import MAX_IN_A_ROW, TROUBLE, Forbidden

REFUSAL = Unauthorized("upstream", 403)


def test_a_403_is_of_the_task_once_another_was_accepted():
    troubles: dict[str, AletheiaError] = {}
    forbidden = Forbidden(troubles)
    forbidden.note("t1", REFUSAL)
    assert not forbidden.is_refusal_of("t1", REFUSAL)
    assert troubles == {TROUBLE: REFUSAL}
    forbidden.note("t1", None)
    assert troubles == {}
    assert not forbidden.is_refusal_of("t1", REFUSAL), "no other one was accepted"
    forbidden.note("t2", None)
    assert forbidden.is_refusal_of("t1", REFUSAL)
    assert not forbidden.is_ours


def test_so_many_tasks_in_a_row_are_a_lock_out():
    forbidden = Forbidden({})
    forbidden.note("a", None)
    forbidden.note("b", None)
    for number in range(MAX_IN_A_ROW):
        assert not forbidden.is_ours
        forbidden.note(f"t{number}", REFUSAL)
    assert forbidden.is_ours
    assert not forbidden.is_refusal_of("t1", REFUSAL)


def test_one_task_again_and_again_is_no_lock_out():
    forbidden = Forbidden({})
    for _ in range(MAX_IN_A_ROW * 2):
        forbidden.note("t1", REFUSAL)
    assert not forbidden.is_ours


def test_one_that_is_accepted_between_begins_the_row_anew():
    forbidden = Forbidden({})
    for number in range(MAX_IN_A_ROW * 2):
        if number % (MAX_IN_A_ROW - 1) == 0:
            forbidden.note("good", None)
        forbidden.note(f"t{number}", REFUSAL)
        assert not forbidden.is_ours
