"""The bulk lane: large backlogs of embeddings through a provider's batch API (SPEC §2).

A batch has a document of its own, an order, which is written before anything is submitted:

    intended ──▶ submitted ──▶ done

It names every row it is about with its token, for whoever comes after a killed run; its id goes
with the batch as metadata. The rows stay claimed, under one name for all runs of the lane and a
lease that outlasts the batch. Where nobody comes back, the lease runs out, a shift computes them,
and the order is closed. Only one run works in the lane at a time.
"""
