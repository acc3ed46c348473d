"""Aliases that stand for entities in a prompt, so that no name that a user gave gets there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from aletheia.reasoning.catalogue import entity_path, measure_of


@dataclass(slots=True)
class Aliases:
    """Turns paths with entities into paths with aliases, and back."""

    _known: dict[str, str] = field(default_factory=dict[str, str])  # path of an entity → alias
    _counts: dict[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def of(cls, paths: Iterable[str]) -> "Aliases":
        """Return aliases for the entities of paths, the same ones for the same paths."""
        aliases = cls()
        for path in sorted(set(paths)):
            aliases.hide(path)
        return aliases

    @classmethod
    def from_document(cls, known: Mapping[str, str]) -> "Aliases":
        """Return aliases as they were saved."""
        # Paths have dots, which names in a document must not have.
        return cls({path.replace("/", "."): name.replace("/", ".") for path, name in known.items()})

    def to_document(self) -> dict[str, str]:
        """Return them as they are saved."""
        return {
            path.replace(".", "/"): name.replace(".", "/") for path, name in self._known.items()
        }

    def hide(self, path: str) -> str:
        """Return a path with an alias in place of its entity's key."""
        entity, measure = entity_path(path), measure_of(path)
        if not entity or measure is None:
            return path
        if entity not in self._known:
            number = self._counts[measure.entity] = self._counts.get(measure.entity, 0) + 1
            table = entity.rpartition(".")[0]
            self._known[entity] = f"{table}.{measure.entity}_{number}"
        return self._known[entity] + path.removeprefix(entity)

    def reveal(self, path: str) -> str:
        """Return a path with the entity's own key in place of its alias; others as they are.

        A path that names an entity by its own key instead of the alias is none: it becomes empty.
        """
        for entity, alias in self._known.items():
            if path.startswith(f"{alias}."):
                return entity + path.removeprefix(alias)
        entity = entity_path(path)
        return "" if entity else path
