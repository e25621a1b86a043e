"""Many pairs with one model: a cohort, the frames of a beat."""
