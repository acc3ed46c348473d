"""What every record in the document store is built from: time, leases, pauses, numbers, cursors.

What reads or writes the store raises `Unavailable` while that is out of reach.
"""
