"""In what two texts differ that are alike."""

# ruff: noqa: RUF001 - ambiguous characters are the case

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.text.differences import DIFFERENCES, align_texts


def difference(one: str, other: str) -> str | None:
    return align_texts(one, other).difference


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        pytest.param("Deploy v1.2 today.", "Deploy v1.3 today.", "version", id="version"),
        pytest.param("Report on Q1 sales.", "Report on Q2 sales.", "number", id="quarter"),
        pytest.param("The FY24 budget is set.", "The FY25 budget is set.", "number", id="year"),
        pytest.param("Give 5 µg a dose.", "Give 5 mg a dose.", "unit", id="grams"),
        pytest.param("A 100 Mbit/s line.", "A 100 Gbit/s line.", "unit", id="bits"),
        pytest.param("Drive at 80 km/h.", "Drive at 80 mph.", "unit", id="speed"),
        pytest.param("10 euros per month.", "10 euros per year.", "unit", id="rate"),
        pytest.param(
            "200 parts a day leave.", "200 parts a week leave.", "unit", id="rate in words"
        ),
        pytest.param("Order 40 crates now.", "Order 40 pallets now.", "word", id="unknown unit"),
        pytest.param("Retry when status = 200.", "Retry when status != 200.", "sign", id="equal"),
        pytest.param("Alert when load > 80.", "Alert when load < 80.", "sign", id="less"),
        pytest.param("Store at -5 degrees.", "Store at 5 degrees.", "number", id="minus"),
        pytest.param("Close on 3 March.", "Close on 3 April.", "date", id="month"),
        pytest.param("Backups run on Monday.", "Backups run on Friday.", "date", id="weekday"),
        pytest.param("The first check is free.", "The second check is free.", "date", id="ordinal"),
        pytest.param(
            "Prüfung erfolgt wöchentlich.", "Prüfung erfolgt monatlich.", "date", id="often"
        ),
        pytest.param("Drafts must be signed.", "Drafts need not be signed.", "negation", id="not"),
        pytest.param("I clienti pagano.", "I clienti non pagano.", "negation", id="Italian"),
        pytest.param("Clientes pagam já.", "Clientes não pagam já.", "negation", id="Portuguese"),
        pytest.param(
            "Klanten betalen vooraf.", "Klanten betalen niet vooraf.", "negation", id="Dutch"
        ),
        pytest.param("Prices will increase.", "Prices will decrease.", "opposite", id="opposite"),
        pytest.param("Die Tür ist offen.", "Die Tür ist geschlossen.", "opposite", id="German"),
        pytest.param("Sellers pay buyers.", "Buyers pay sellers.", "order", id="roles"),
        pytest.param(
            "Der Käufer zahlt dem Verkäufer.",
            "Dem Käufer zahlt der Verkäufer.",
            "order",
            id="cases",
        ),
        pytest.param("Sent by the bank.", "Sent to the bank.", "order", id="by, to"),
        pytest.param("We pay you.", "You pay us.", "order", id="pronouns"),
        pytest.param(
            "Two pumps, three valves.", "Three pumps, two valves.", "order", id="exchanged"
        ),
        pytest.param("Ship the parts to Lyon.", "Ship the parts to Paris.", "name", id="name"),
        pytest.param("Keep the red folder.", "Keep the blue folder.", "word", id="word"),
        pytest.param(
            "Check the invoice, pay it.", "Pay the invoice, check it.", "order", id="steps"
        ),
        pytest.param("每周一备份数据库", "每周二备份数据库", "word", id="no blanks"),
    ],
)
def test_a_small_difference_is_the_message(one: str, other: str, kind: str):
    assert difference(one, other) == kind
    assert difference(other, one) == kind


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("Stop the line!", "Stop a line", id="articles"),
        pytest.param("Approve the invoices.", "Approving an invoice", id="endings"),
        pytest.param(
            "Before you start the pump, close the valve.",
            "Close the valve before you start the pump.",
            id="clause first",
        ),
        pytest.param("Wait 1,000 seconds.", "Wait 1000 seconds.", id="number"),
        pytest.param("Wait thirty days here.", "Wait 30 days here.", id="number in words"),
        pytest.param("Keep it at –5 °C.", "Keep it at −5 °C.", id="minus signs"),
        pytest.param("Retry on status != 200.", "Retry on status ≠ 200.", id="unequal"),
        pytest.param(
            "Every supplier invoice is matched with the purchase order.",
            "Before money leaves, somebody compares what was billed and what was bought.",
            id="other words",
        ),
    ],
)
def test_what_makes_no_difference_is_none(one: str, other: str):
    assert difference(one, other) is None
    assert difference(other, one) is None


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        pytest.param(
            "Every complaint gets an answer by Tuesday at the latest, whoever wrote it.",
            "No customer waits for a reply longer than until Thursday.",
            "date",
            id="weekday",
        ),
        pytest.param(
            "Suppliers are told in writing that prices will increase next spring.",
            "A notice informs vendors about the planned decrease of what they are paid.",
            "opposite",
            id="opposite",
        ),
        pytest.param(
            "Parcels for southern France leave from the warehouse in Lyon.",
            "What goes to the south is sent off at our depot in Marseille.",
            "name",
            id="name",
        ),
    ],
)
def test_texts_in_other_words_may_contradict_each_other(one: str, other: str, kind: str):
    assert difference(one, other) == kind


def test_every_difference_can_be_said():
    kinds = {"number", "unit", "negation", "date", "version", "sign", "opposite", "name", "word"}
    assert set(DIFFERENCES) == kinds | {"order"}


def test_close_texts_share_all_but_few_words():
    close = align_texts("Keep the red folder in the office.", "Keep the blue folder in the office.")
    assert (close.is_close, close.missing, close.added) == (True, 1, 1)
    assert not align_texts("Ring the bell.", "Paint those gates green.").is_close


@given(st.text())
def test_no_text_differs_from_itself(text: str):
    assert difference(text, text) is None


_WORDS = st.sampled_from(
    ["not", "buyer", "pays", "seller", "5", "6", "kg", "monday", "v1.2", "<", "open", "close", "by"]
)


@given(st.lists(_WORDS).map(" ".join), st.lists(_WORDS).map(" ".join))
def test_a_difference_is_mutual(one: str, other: str):
    assert (difference(one, other) is None) == (difference(other, one) is None)
