"""Names of entities never reach a prompt, and aliases are turned back to exactly those."""

from aletheia.reasoning.aliases import Aliases

OPENAI = "additional_metrics.breakers.openai.failures"
BRAIN = "additional_metrics.breakers.brain.failures"
PROJECT = "additional_metrics.brain.shop.waiting"


def test_entities_have_aliases_by_their_kind_in_the_order_of_their_paths():
    aliases = Aliases.of([PROJECT, OPENAI, BRAIN, "queue_pending"])
    assert aliases.hide(BRAIN) == "additional_metrics.breakers.dependency_1.failures"
    assert aliases.hide(OPENAI) == "additional_metrics.breakers.dependency_2.failures"
    assert aliases.hide(PROJECT) == "additional_metrics.brain.project_1.waiting"
    assert aliases.hide("queue_pending") == "queue_pending"


def test_an_alias_is_turned_back_and_a_name_itself_means_nothing():
    aliases = Aliases.of([OPENAI, BRAIN, PROJECT])
    for path in (OPENAI, BRAIN, PROJECT):
        assert aliases.reveal(aliases.hide(path)) == path
        assert aliases.reveal(path) == ""
    assert aliases.reveal("queue_pending") == "queue_pending"


def test_values_of_one_entity_share_its_alias():
    aliases = Aliases.of([PROJECT, PROJECT.replace("waiting", "refused")])
    assert aliases.hide(PROJECT.replace("waiting", "refused")).startswith(
        "additional_metrics.brain.project_1."
    )


def test_saved_aliases_mean_the_same_later():
    aliases = Aliases.of([OPENAI, BRAIN])
    later = Aliases.from_document(aliases.to_document())
    assert later.reveal(aliases.hide(OPENAI)) == OPENAI
