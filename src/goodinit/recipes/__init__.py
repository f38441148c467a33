"""Recipes: named policies that decide an initializer for every parameter."""

from goodinit.recipes.auto import auto
from goodinit.recipes.decide import decide
from goodinit.recipes.decision import Decision, Recipe, Rule
from goodinit.recipes.layers import Scheme, layer_rules
from goodinit.recipes.named import RECIPES, recipe

__all__ = ["RECIPES", "Decision", "Recipe", "Rule", "Scheme", "auto", "decide", "layer_rules", "recipe"]
