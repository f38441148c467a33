"""What uses which parameter. So far: where parameters are registered, under canonical names."""

from goodinit.graph.places import Place, Use, places

__all__ = ["Place", "Use", "places"]
