from aletheia.service.roles import MANAGERS, OPERATORS, READERS, Caller, Role


def test_whoever_may_more_may_what_others_may():
    assert MANAGERS < OPERATORS < READERS == set(Role)


def test_a_caller_without_roles_may_nothing():
    nobody = Caller("somebody", frozenset(), 2e9)
    assert not any(nobody.has_any(roles) for roles in (READERS, OPERATORS, MANAGERS))


def test_one_role_of_several_is_enough():
    caller = Caller("somebody", frozenset({Role.VIEWER, Role.OPERATOR}), 2e9)
    assert (caller.has_any(READERS), caller.has_any(OPERATORS)) == (True, True)
    assert not caller.has_any(MANAGERS)
    assert not caller.has_any([])
