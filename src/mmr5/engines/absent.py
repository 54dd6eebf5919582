"""No model at all: what stands behind ``--model none``, where the first stage gives the order."""

from __future__ import annotations

import math
from typing import Any, NoReturn

from mmr5.engines.protocol import Capabilities
from mmr5.errors import CapabilityError
from mmr5.models.resolve import NONE


class AbsentEngine:
    """An engine that can do nothing; the method ``none`` asks nothing of it."""

    name = NONE
    model = NONE
    reserved: tuple[str, ...] = ()
    capabilities = Capabilities(generate=False)

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, about: 1.3 a word."""
        return math.ceil(1.3 * len(text.split()))

    def generate(self, *_: Any, **__: Any) -> NoReturn:
        """There is no model.

        Raises:
            CapabilityError: always.
        """
        raise CapabilityError("model 'none' is the first stage alone and writes nothing: name a model")

    score_choices = score_text = generate
