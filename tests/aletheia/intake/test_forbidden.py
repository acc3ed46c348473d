"""A 403 about one task is told apart from one about us."""

from aletheia.intake.forbidden import MAX_IN_A_ROW, Forbidden


def test_a_403_is_of_the_task_once_another_was_accepted():
    forbidden = Forbidden()
    forbidden.note_forbidden("t1")
    assert not forbidden.is_of_task("t1")
    forbidden.note_accepted("t1")
    assert not forbidden.is_of_task("t1"), "no other one was accepted"
    forbidden.note_accepted("t2")
    assert forbidden.is_of_task("t1")
    assert not forbidden.is_ours


def test_so_many_tasks_in_a_row_are_a_lock_out():
    forbidden = Forbidden()
    forbidden.note_accepted("a")
    forbidden.note_accepted("b")
    for number in range(MAX_IN_A_ROW):
        assert not forbidden.is_ours
        forbidden.note_forbidden(f"t{number}")
    assert forbidden.is_ours
    assert not forbidden.is_of_task("t1")


def test_one_task_again_and_again_is_no_lock_out():
    forbidden = Forbidden()
    for _ in range(MAX_IN_A_ROW * 2):
        forbidden.note_forbidden("t1")
    assert not forbidden.is_ours


def test_one_that_is_accepted_between_begins_the_row_anew():
    forbidden = Forbidden()
    for number in range(MAX_IN_A_ROW * 2):
        if number % (MAX_IN_A_ROW - 1) == 0:
            forbidden.note_accepted("good")
        forbidden.note_forbidden(f"t{number}")
        assert not forbidden.is_ours
