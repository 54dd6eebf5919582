"""Named checkpoints: where they live, how their weights are obtained, and the recipes they are used with."""

from mmr5.models.recipes import Recipe
from mmr5.models.resolve import Checkpoint, resolve

__all__ = ["Checkpoint", "Recipe", "resolve"]
