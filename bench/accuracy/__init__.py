"""How right workers are, on data that nothing was fitted on."""
