"""Job: what is done on site before the station runs: check, find the modules, prove the wiring. No station loads it."""
