"""Records as one self-contained HTML file, and as a short fragment for notebooks."""
