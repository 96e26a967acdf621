"""Pages for people; renew.py writes what comes from the code."""
