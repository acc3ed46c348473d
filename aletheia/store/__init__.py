"""What every record in the document store is built from: time, leases, pauses, numbers, cursors."""
