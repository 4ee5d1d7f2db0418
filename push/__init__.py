"""Sending one push notification. Imports nothing else of this project; see docs/push.md and push/sender.py."""
