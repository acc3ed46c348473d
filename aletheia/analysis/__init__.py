"""What can be computed: one file a task type."""
