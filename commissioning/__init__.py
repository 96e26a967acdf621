"""Job: what a person does once on site: find the modules, prove the wiring. Never part of a running station."""
