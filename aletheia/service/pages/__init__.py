"""Pages for people, below `/ui`: gather, system, operations (docs/pages.md).

They are drawn by NiceGUI, which is the extra `ui`; only `toolkit` and what it imports need it, and
it is imported when somebody who has signed in opens the first page. Whatever a page reads or does
goes through the routes of the service itself, in process, with the visitor's own token: so
roles, audit, idempotency and refusals are those of the API.
"""
