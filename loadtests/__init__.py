"""Load on a running Deskbell, by the public protocol alone: how fast, how much memory, and whether anything was lost.

Each command starts a server of its own with an embedded PostgreSQL (fsync on) unless `--url` names one, shows its
progress, prints a table, writes JSON and a picture, and sets its figures beside a ceiling measured in the same run
(docs/loadtests.md).
"""
