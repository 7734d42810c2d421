"""Training by recipe: data sets, augmentation, losses, stages, resuming."""

from .recipe import Recipe, load_recipe
from .trainer import train

__all__ = ["Recipe", "load_recipe", "train"]
