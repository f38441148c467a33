"""The probe: one forward and one backward pass, measured."""
