"""Jacobian spectra by randomized methods."""
