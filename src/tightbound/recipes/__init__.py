"""Published compositions: functions that return a config. Free of torch."""

from tightbound.recipes.published import RECIPES, recipe

__all__ = ["RECIPES", "recipe"]
