"""What calls to models cost, and how much may be spent on them."""
