from aletheia.quality.form import BROKEN_OFF
from aletheia.quality.reading import read_text
from aletheia.quality.soundness import MISMEASURED, measure_soundness
from tests.aletheia.quality.quality_sets import GERMAN, GOOD

OPEN = "The clerk files each contract within two days"
BROKEN = ("The clerk files each contract in the", "A dispute is settled by the lawyer and")
IMPOSSIBLE = ("Each folder weighs two hours.", "The lease lasts 12 kilograms.")


def measure(*texts: str) -> list[float]:
    return measure_soundness([read_text(text, "en") for text in texts])


def test_good_items_are_sound() -> None:
    assert min(measure(*GOOD)) > 0.9
    assert min(measure(*GERMAN)) > 0.9


def test_a_text_without_its_full_stop_is_cut_only_where_others_break_off() -> None:
    assert measure(OPEN, *GOOD[:3])[0] > 0.9
    assert measure(OPEN, *BROKEN)[0] <= BROKEN_OFF


def test_impossible_figures_cost_their_item_and_where_there_are_several_all_figures() -> None:
    figures = "The clerk reads 30 pages before noon."
    one, other = measure(IMPOSSIBLE[0], figures, *GOOD[:3])[:2]
    assert one <= MISMEASURED < other
    assert max(measure(*IMPOSSIBLE, figures)) <= MISMEASURED


def test_a_set_of_shuffled_words_is_unsound() -> None:
    salad = [" ".join(sorted(text.rstrip(".").split(), key=lambda w: w[::-1])) for text in GOOD]
    assert sum(measure(*salad)) < 0.3 * len(salad)


def test_a_set_that_explains_words_by_themselves_is_unsound() -> None:
    circular = [
        "A contract is what somebody contracted.",
        "A dispute means that there is a dispute.",
        "The supplier is whoever supplies.",
        "A trademark is the mark of a trademark.",
    ]
    assert max(measure(*circular)) <= BROKEN_OFF
    assert measure(circular[0], *GOOD)[0] > 0.9


def test_no_items_have_no_soundness() -> None:
    assert measure() == []
