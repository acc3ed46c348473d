"""Stands for a user's package that ends the program when it is imported."""

import sys

sys.exit("no licence")
