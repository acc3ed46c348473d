"""What quality is given to sets of items, and what orders to a judge change."""

from typing import Final

FALLEN_FROM: Final = 10.0
"""Points by which a text with orders lowers a set, from which it is obeyed: an item that says
nothing lowers one of eight items by less."""

OBEYED_FROM: Final = 2.0
