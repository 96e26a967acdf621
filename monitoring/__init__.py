"""What looks on: history, web page, metrics. It is told, it never decides, and nobody waits for it.

Nothing is here yet. main.py imports this package guarded: the station runs without it.
"""
