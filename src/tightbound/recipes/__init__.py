"""Published compositions: functions that return a config. Free of torch."""

from tightbound.recipes.published import OWN_RECIPE, RECIPES, recipe

__all__ = ["OWN_RECIPE", "RECIPES", "recipe"]
