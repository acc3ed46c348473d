"""What is similar, good and done, measured on material that nothing is fitted on."""
