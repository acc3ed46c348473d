"""How often workers are right, on data that nothing was fitted on."""
