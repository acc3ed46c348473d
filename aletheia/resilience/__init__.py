"""What keeps calls to outside systems within bounds, over all processes and across restarts."""
