"""A judge of pairs, as strict as one that costs money: it never answers a pair twice."""

from collections.abc import Callable, Sequence

from aletheia.items.dedup import Question, Verdict

MODEL = "fake-judge"


class FakeJudge:
    """Answers by a rule, and keeps what it was asked.

    Args:
        rule: says of a pair whether it is a duplicate; `None` gives no verdict.
    """

    def __init__(self, rule: Callable[[Question], bool | None]) -> None:
        self._rule = rule
        self.rounds: list[list[Question]] = []

    @property
    def asked(self) -> list[tuple[str, str]]:
        """The pairs of ids it was asked about, in order."""
        return [(question.new_id, question.other_id) for asked in self.rounds for question in asked]

    async def __call__(self, questions: Sequence[Question]) -> Sequence[Verdict | None]:
        known = {question.key for asked in self.rounds for question in asked}
        assert questions, "nothing to judge"
        assert not known & {question.key for question in questions}, "judged before"
        self.rounds.append(list(questions))
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Verdict | None:
        said = self._rule(question)
        return None if said is None else Verdict(said, MODEL, "because")
