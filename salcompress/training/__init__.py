"""Training of every network here."""
