"""From measurements to findings: one module for each kind of fault."""
