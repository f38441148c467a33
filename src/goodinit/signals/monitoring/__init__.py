"""The same statistics while a model trains."""
