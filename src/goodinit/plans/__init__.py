"""Plans: a table with one row for every parameter, its making, its carrying out and its proof."""

from goodinit.initializers import fill_
from goodinit.plans.build import initialize, plan
from goodinit.plans.plan import Plan
from goodinit.plans.row import Row
from goodinit.plans.weights import load_weights, save_weights

__all__ = ["Plan", "Row", "fill_", "initialize", "load_weights", "plan", "save_weights"]
