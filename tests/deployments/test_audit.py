"""The command `audit`."""

import json
from datetime import UTC, datetime

from aletheia.audit_trail import Act
from deployments.audit import show_acts
from tests.deployments.printing import printed

AT = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
ACT = Act(
    AT, "[bold]ada\x1b[2J", "the command line, host", "intake pause", {"ids": ["t1"], "x": None}
)


def test_an_act_is_shown_with_who_from_where_and_what():
    shown = " ".join(printed(lambda: show_acts([ACT], as_json=False)).split())
    assert "2026-11-30 12:00:00 [bold]ada␛[2J the command line, host intake pause" in shown
    assert '{"ids": ["t1"]}' in shown


def test_acts_can_be_had_as_json():
    (found,) = json.loads(printed(lambda: show_acts([ACT], as_json=True)))
    assert found["who"] == ACT.who
    assert (found["from"], found["action"]) == (ACT.source, "intake pause")
    assert found["details"] == {"ids": ["t1"], "x": None}


def test_that_nobody_did_anything_is_said():
    shown = printed(lambda: show_acts([], as_json=False))
    assert shown.strip() == "Nobody has done anything yet."
