"""Items as people and models write them, good and bad, for one department."""

from typing import Any, Final

from aletheia.items.departments import Department
from aletheia.quality.rating import QualityItem


def department(**parts: Any) -> Department:
    return Department.model_validate(
        {
            "id": "d1",
            "slug": "legal",
            "name": "Legal",
            "description": "Reviews contracts and advises on data protection; handles disputes "
            "with suppliers and keeps trademarks alive.",
            "gather_check": True,
            "is_active": True,
            **parts,
        }
    )


def items(texts: list[str] | tuple[str, ...], prefix: str = "i") -> list[QualityItem]:
    return [QualityItem(f"{prefix}{place}", text) for place, text in enumerate(texts)]


GOOD: Final = (
    (
        "Every contract above 50,000 euros is read by two lawyers before anybody signs. The "
        "second reader looks only at liability, term and termination, because these three caused "
        "nine of last year's ten claims. Both sign the cover sheet within five working days."
    ),
    (
        "The contract manager keeps a register of all running contracts with their notice "
        "periods. Ninety days before a period ends the owner gets a reminder and decides whether "
        "to renew. If nobody answers within two weeks, the head of legal cancels."
    ),
    (
        "When a visitor asks which data we hold about him, the privacy officer opens a request "
        "and has 30 days to answer. Records come from the customer system, the newsletter tool "
        "and the paper archive; a missing source is named in the answer, so that nobody has to "
        "guess."
    ),
    (
        "A leak of personal data is reported to the authority within 72 hours unless no harm is "
        "likely. The duty lawyer decides this together with the security engineer and writes down"
        " why, since the authority asks for the reasons years later. Data protection is not "
        "informed by mail but by phone."
    ),
    (
        "If a supplier delivers late for the third time in a quarter, the buyer sends the formal "
        "notice from the template on the same day. The dispute then goes to the lawyer in charge,"
        " who offers a settlement of up to 10 percent before filing. Suppliers pay the costs of "
        "the expert."
    ),
    (
        "Disputes below 5,000 euros are settled by phone whenever the other side agrees, because "
        "a court date takes eleven months on average. The clerk notes the offer, the answer and "
        "the date; two refusals close the file."
    ),
    (
        "Trademarks are watched monthly: the assistant searches the register for names that sound"
        " alike in classes 9 and 42. A hit is shown to counsel within three days, as an objection"
        " must be filed within 90 days of publication."
    ),
    (
        "The fee calendar of our 14 trademarks hangs in the shared drive. Finance pays six weeks "
        "ahead of the due date, so that a bank holiday costs no right; the clerk checks the "
        "receipt and archives it for ten years."
    ),
    (
        "Standard contracts are revised every January. Whoever found a clause hard to defend "
        "writes it on the list during the year, and the jurist who leads the review drops at "
        "least one page."
    ),
    (
        "New suppliers answer twelve questions on data protection before the first order. If more"
        " than two answers are missing, purchasing waits; otherwise the privacy officer releases "
        "them within four days and files the form with the contract."
    ),
    (
        "Before a hearing the lawyer rehearses the three weakest points of our case with a "
        "colleague who knows nothing about it. Each rehearsal takes one hour; what cannot be "
        "explained in it is settled rather than argued."
    ),
    (
        "A trademark licence names the quality the partner must keep, who inspects it every six "
        "months, and what ends it. Without inspection the mark itself may be lost, therefore a "
        "missed date stops the licence until it is done."
    ),
    (
        "Contracts in another language get a translation of the clauses on payment, warranty and "
        "law, not of the rest. The translator works from the glossary of 200 terms; a lawyer "
        "compares the numbers line by line before the partner sees it."
    ),
)
"""What an experienced colleague would sign."""

THIN: Final = (
    "Contracts should be read by a lawyer before they are signed by the management.",
    ("Personal data must be stored safely, and only colleagues from privacy may open the archive."),
    ("Suppliers with disputes get a letter from the legal office with a friendly reminder first."),
    "Trademarks need renewal; somebody should look into the register and pay the fee.",
    "Templates for contracts are kept in the shared drive, where sales can find them.",
    "The privacy notice on the website tells visitors which cookies and newsletters exist.",
    "Disputes can often be settled by a phone call before a judge hears about them.",
    "Names of new products are compared with the trademark register by an assistant.",
)
"""To the point, and without detail."""

FILLER: Final = (
    "It is very important to always ensure the best possible quality in all areas.",
    "Legal plays a key role and should be considered in every situation by everybody.",
    "Contracts are an essential topic and deserve a lot of attention.",
    "Data protection matters and must be improved continuously, effectively and efficiently.",
    "We strive for excellence and innovative, holistic solutions for all our challenges.",
    "Disputes, suppliers, trademarks, contracts, data protection.",
    "Good communication is the basis of success, and success is the basis of everything.",
    (
        "By leveraging cross-functional collaboration and data-driven insights, Legal can foster "
        "a culture of excellence and unlock sustainable growth across all stakeholders."
    ),
    (
        "Implementing effective strategies and best practices helps to streamline operational "
        "outcomes. This enhances productivity, drives alignment and empowers teams on their "
        "journey."
    ),
    "There are many different aspects to take into account, and all of them are relevant.",
)
"""Sounds, with and without the department's words."""

STRAY: Final = (
    (
        "The oven is cleaned every Friday at six, because burnt crumbs spoil the morning's first "
        "batch. The baker on shift empties the tray, wipes the door and notes the temperature of "
        "220 degrees. If it takes longer than 20 minutes, the seal is replaced."
    ),
    (
        "Tulip bulbs go into the ground in October, twelve centimetres deep and pointed end up. "
        "The gardener covers them with leaves before the first frost, since mice dig where soil "
        "is loose."
    ),
    (
        "Before each concert the violinist changes the lowest string and plays scales for 30 "
        "minutes. Humid halls pull the pitch down, therefore two spare strings lie in the case."
    ),
    (
        "The pool is measured at seven, noon and four: chlorine between 0.3 and 0.6 milligrams. "
        "The lifeguard closes the slide when the value falls, and reopens it after two good "
        "readings."
    ),
    (
        "Beehives are weighed on Sundays. A loss of more than two kilos in a week means that the "
        "beekeeper feeds syrup before evening, unless the colony is preparing to swarm."
    ),
    (
        "The night train stops in Basel for eleven minutes so that the locomotive can be "
        "exchanged. The conductor counts berths and wakes travellers who leave before five."
    ),
    (
        "Climbers check each other's knot aloud before anybody leaves the ground. The rope is "
        "retired after five years or one hard fall, and its card says which of both came first."
    ),
    (
        "Sourdough rests for sixteen hours at 24 degrees. When it doubles sooner, the baker takes"
        " five percent less starter the next day and writes the change on the board."
    ),
)
"""Good in itself, and of other departments."""

GERMAN: Final = (
    (
        "Jeder Vertrag über 50.000 Euro wird von zwei Juristen gelesen, bevor jemand "
        "unterschreibt. Der zweite prüft nur Haftung, Laufzeit und Kündigung, weil diese drei "
        "Klauseln im letzten Jahr neun von zehn Streitfällen verursacht haben."
    ),
    (
        "Meldet ein Kunde eine Panne beim Datenschutz, so hat der Beauftragte 72 Stunden Zeit für"
        " die Anzeige bei der Behörde. Er notiert Ursache, betroffene Datensätze und die Uhrzeit,"
        " damit der Bericht auch nach Jahren noch trägt."
    ),
    (
        "Liefert ein Lieferant zum dritten Mal im Quartal zu spät, verschickt der Einkäufer am "
        "selben Tag die Mahnung. Danach bietet die Anwältin einen Vergleich von höchstens 10 "
        "Prozent an, sofern der Schaden belegt ist."
    ),
    (
        "Verträge mit automatischer Verlängerung stehen in einer Liste mit Kündigungsfrist. Drei "
        "Monate vorher fragt die Sachbearbeiterin den Besteller; antwortet er nicht innerhalb von"
        " 14 Tagen, kündigt die Leitung."
    ),
)
GERMAN_FILLER: Final = (
    "Es ist sehr wichtig, immer und überall auf beste Qualität zu achten.",
    "Verträge sind ein wichtiges Thema und müssen stets berücksichtigt werden.",
    "Der Datenschutz spielt insgesamt eine große Rolle in allen Bereichen.",
    "Wir verbessern uns ständig und finden für alles eine gute Lösung.",
)
