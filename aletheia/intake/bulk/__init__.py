"""The bulk lane: large backlogs of embeddings through a provider's batch API (SPEC §2).

A batch has a document of its own, an order, which is written before anything is submitted:

    intended ──▶ submitted ──▶ done

It names every row it is about with its token, so whoever comes after a killed run knows what is
under way. The order's id goes with the batch as metadata, to find a batch whose id was not written
down any more. The rows stay claimed, under one name for all runs of the lane and a lease that
outlasts the batch. Where nobody comes back, the lease runs out, a shift computes them as if there
had been no batch, and the order is closed, whatever has become of it.

Only one run works in the lane at a time; another one waits for it to leave.
"""
