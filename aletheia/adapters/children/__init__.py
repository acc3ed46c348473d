"""Child processes with limits: every decoder of files that others send runs in one."""
