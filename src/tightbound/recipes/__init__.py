"""Published models as configs: what `--recipe` names."""

from tightbound.recipes.base import Recipe, all_recipes, bibliography, citation, find_recipe, recipe

OWN_RECIPE = {"digits": "digits"}  # built-in data that are trained with a recipe of their own, if none is named

__all__ = ["OWN_RECIPE", "Recipe", "all_recipes", "bibliography", "citation", "find_recipe", "recipe"]
