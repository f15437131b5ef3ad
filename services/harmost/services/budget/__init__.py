"""The Budget service: holds, settlements and balances, durable before they are answered.

service.py answers RPCs (convert.py knows the messages) → store.py commits in groups, on one thread
→ accounts.py decides → ledger_file.py writes.
"""
