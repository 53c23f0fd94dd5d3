"""Which model a name means that no worker serves: names of the settings, aliases, and patterns of aliases."""

import re
from collections.abc import Mapping
from fnmatch import translate

from app.settings import ModelSettings


class ModelNames:
    """The names that the settings give to models.

    An alias with `*` in it is a pattern: it fits all names that have any text in the place of each `*`, for clients
    whose model name can't be changed. Exact names win over patterns, longer patterns over shorter ones.

    Args:
        models: Settings by the name that workers serve a model under. No alias stands twice.
    """

    def __init__(self, models: Mapping[str, ModelSettings]) -> None:
        aliases = {alias: model for model, own in models.items() for alias in own.aliases}
        self.aliases = {alias: model for alias, model in aliases.items() if "*" not in alias}
        self._exact = {model: model for model in models} | self.aliases
        patterns = sorted(aliases.keys() - self.aliases.keys(), key=lambda pattern: (-len(pattern), pattern))
        self._patterns = [(_compiled(pattern), aliases[pattern]) for pattern in patterns]

    def are_exact_for(self, name: str) -> bool:
        """True if the name is a model's own or an exact alias."""
        return name in self._exact

    def model_of(self, name: str) -> str | None:
        """The model that a name means; None when it means none."""
        if exact := self._exact.get(name):
            return exact
        return next((model for pattern, model in self._patterns if pattern.match(name)), None)


def _compiled(pattern: str) -> re.Pattern[str]:
    # Of a shell's patterns only the `*`; names of models are taken as they are otherwise.
    return re.compile(translate(re.sub(r"[?[]", r"[\g<0>]", pattern)))
