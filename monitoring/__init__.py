"""What looks on: history, web page, metrics. It is told, it never decides, and nobody waits for it.

main.py imports this package guarded: the station runs without it. docs/monitoring.md says which file does what in which
process; `python -m monitoring` is the page process.
"""
