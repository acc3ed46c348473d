"""Sentences that quantised models are measured on: several kinds, lengths and near-repetitions."""

from collections.abc import Sequence
from typing import Final

_LONG: Final = (
    "The minister said on Tuesday that the government would not raise taxes this year, although "
    "several members of her own party had called for a higher levy on large inheritances, and "
    "economists had warned that the deficit would otherwise exceed the limit that parliament set."
)
_LONGER: Final = (
    "When the migration runs, it copies each table in batches of ten thousand rows, compares "
    "checksums, switches the readers over one by one, and keeps the old tables for thirty days, "
    "so that a rollback needs no backup; only then are they dropped, which an operator confirms."
)

SENTENCES: Final[Sequence[str]] = (
    "The shipment left the harbour two days late because of a storm.",
    "A storm delayed the ship's departure from port by two days.",
    "The shipment left the harbour two days early in spite of a storm.",
    "Please reset my password; the link you sent has expired.",
    "The link in your e-mail does not work any more, and I cannot sign in.",
    "Quarterly revenue rose by 12 % to 4.3 million euros.",
    "Quarterly revenue fell by 12 % to 4.3 million euros.",
    "Costs grew faster than sales in the second quarter.",
    "def add(a, b): return a + b",
    "A function that returns the sum of its two arguments.",
    "SELECT name FROM users WHERE age > 30 ORDER BY name;",
    "List the names of all users older than thirty, in alphabetical order.",
    "The patient was given 5 mg of the drug twice a day for three weeks.",
    "Twice daily doses of five milligrams were continued for twenty-one days.",
    "The trial was stopped after two participants developed a rash.",
    "Beat the eggs with the sugar until the mixture is pale and thick.",
    "Whisk sugar and eggs together until light in colour and creamy.",
    "Bake at 180 degrees for forty minutes, then let it cool in the tin.",
    "The tenant may end this agreement with three months' written notice.",
    "Either party can terminate the contract by giving notice ninety days ahead.",
    "Interest is charged on payments that are more than thirty days overdue.",
    "She walked along the empty beach and thought of nothing at all.",
    "On the deserted shore she went for a walk, her mind quite blank.",
    "The old lighthouse had not been lit since the war.",
    "What is the capital of Australia?",
    "Canberra is the capital of Australia.",
    "Sydney is the largest city of Australia, though not its capital.",
    "How do I export my data as a spreadsheet?",
    "You can download everything as a CSV file under Settings, Export.",
    "The battery lasts a full day, but the screen scratches far too easily.",
    "Great battery life; the display, however, is not very robust.",
    "I returned it after a week and would not buy it again.",
    "The committee meets on the first Monday of every month at 9 a.m.",
    "Our next meeting takes place on Monday morning, as always.",
    "Photosynthesis turns carbon dioxide and water into sugar and oxygen.",
    "Plants make glucose from water and CO2 in the light, and release oxygen.",
    "Mitochondria release the energy that is stored in sugar.",
    "The goalkeeper saved two penalties, and her team won the final 3-2.",
    "After a penalty shoot-out the cup went to the home side.",
    "The match was called off at half-time because the pitch was flooded.",
    "Error: connection refused (errno 111) while connecting to 10.0.0.7:5432",
    "The database server does not accept connections.",
    "The disk is full; old backups are deleted first.",
    "Ok.",
    "Thanks a lot!",
    "No",
    "Der Zug nach Hamburg fährt heute von Gleis sieben.",
    "Le train pour Lyon a vingt minutes de retard.",
    _LONG,
    _LONGER,
)
"""All sentences; neighbours mostly mean much the same, or the opposite."""
