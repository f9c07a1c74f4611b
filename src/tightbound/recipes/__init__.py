"""Published models as configurations."""

from tightbound.recipes.base import Recipe, all_recipes, bibliography, citation, find_recipe, recipe

OWN_RECIPE = {"digits": "digits"}  # built-in data sets with a default recipe

__all__ = ["OWN_RECIPE", "Recipe", "all_recipes", "bibliography", "citation", "find_recipe", "recipe"]
