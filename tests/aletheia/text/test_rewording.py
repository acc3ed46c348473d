"""Which texts are others worded anew, and which are variants of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aletheia.text.differences import align_texts
from aletheia.text.rewording import is_reworded
from aletheia.text.wording import read_wording

SEEDS = "Sow the beans in the second bed after the last frost. The rows are watered in the evening."


def reworded(one: str, other: str) -> bool:
    return is_reworded(read_wording(one), read_wording(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            SEEDS,
            "After the last frost, beans go into the second bed. Their rows get water in the "
            "evening.",
            id="English",
        ),
        pytest.param(
            "Leihgeräte: Der Hort gibt sie gegen Pfand aus. Am Ferienende kommen sie zurück.",
            "Geräte zum Leihen: Gegen Pfand werden sie vom Hort ausgegeben und kommen am Ende "
            "der Ferien zurück.",
            id="German",
        ),
        pytest.param(
            "Riego del huerto: se riega por la noche con agua de lluvia. El depósito se limpia en "
            "otoño.",
            "Por la noche, el huerto recibe agua de lluvia. La limpieza del depósito tiene lugar "
            "en otoño.",
            id="Spanish",
        ),
        pytest.param(
            "Compost : les restes de la cantine y sont versés le matin. Le bac est retourné par "
            "les élèves.",
            "Restes de la cantine : le matin, ils partent au compost. Les élèves s'occupent de "
            "retourner le bac.",
            id="French",
        ),
    ],
)
def test_other_words_in_several_places_are_another_wording(one: str, other: str):
    assert reworded(one, other)
    assert reworded(other, one)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(SEEDS.replace("evening", "morning"), id="one word"),
        pytest.param(SEEDS.replace("beans", "peas").replace("bed", "box"), id="two words"),
        pytest.param(
            "After the last frost, sow the peas in the second bed. The rows are watered in the "
            "evening.",
            id="one part elsewhere and one word",
        ),
        pytest.param(
            "After the last frost, sow the beans in the second bed. The rows are watered in the "
            "evening.",
            id="one part elsewhere",
        ),
    ],
)
def test_a_change_in_one_or_two_places_is_a_variant(other: str):
    assert not reworded(SEEDS, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            "All nurses of the ward attend the course. The dates are chosen by the matron.",
            "The course is attended by most of the ward's nurses. The matron picks dates for it.",
            id="of how many",
        ),
        pytest.param(
            "Guests may park behind the house. The gate is closed by the porter at night.",
            "Behind the house, guests must park. At night it is the porter who shuts the gate.",
            id="how sure",
        ),
        pytest.param(
            "Prune the roses after the first frost. The cuttings go onto the compost heap.",
            "Before the first frost comes, roses get their pruning. Cuttings land on the compost.",
            id="when",
        ),
        pytest.param(
            "Plant 4 rows of leeks and 6 rows of onions. The paths between them are mulched.",
            "Of onions we plant 4 rows, of leeks 6. Between those, mulch covers the paths.",
            id="numbers have changed places",
        ),
        pytest.param(
            "When the carrier cancels the booking, the shipper pays half of the freight.",
            "The carrier pays half of the freight when the shipper cancels the booking.",
            id="who has changed places",
        ),
    ],
)
def test_what_is_said_of_others_is_no_other_wording(one: str, other: str):
    assert not reworded(one, other)
    assert not reworded(other, one)


def test_a_language_without_lists_is_not_known_to_be_worded_anew():
    one = "Grządki podlewa się wieczorem. Narzędzia czyści potem ogrodnik i odkłada pod wiatę."
    other = "Wieczorem następuje podlewanie grządek. Ogrodnik odkłada czyste narzędzia pod wiatę."
    assert not reworded(one, other)


def test_texts_worded_anew_differ_in_nothing_though_they_align_but_for_few_words():
    other = (
        "After the last frost, the beans are sown in the second bed. In the evening the rows get "
        "water."
    )
    alignment = align_texts(SEEDS, other)
    assert alignment.is_close
    assert alignment.difference is None
    assert align_texts(SEEDS, other.replace("second", "third")).difference == "date"
    assert align_texts(SEEDS, other.replace("get", "get no")).difference == "negation"


@given(st.text(), st.text())
def test_it_is_the_same_in_either_order(one: str, other: str):
    assert reworded(one, other) == reworded(other, one)
    assert not reworded(one, one)
