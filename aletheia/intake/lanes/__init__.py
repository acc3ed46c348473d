"""The lanes that workers compute: tasks that shifts claim and hand over (SPEC §1, Lanes).

A task of a lane stays a row of the ledger. The shift that claims it hands it over in the write that
records the acknowledgement of `processing`:

    claimed ──▶ queued ──▶ processing ──▶ kept ──▶ reported
                  ▲ │           │  ▲
                  │ └───────────┘  │ a lease that ran out: the next worker takes it
                  └── waiting ◀────┘ deferred: by a limit, a budget, a provider that is down

Any number of workers take from the same lane. Which task comes next says its turn: that of a job's
next task is one after that of its last one, and no job begins before the turn that is served now.
So jobs take turns, and within one the oldest comes first (docs/decisions/0021-lanes.md).
"""
