"""Pure decisions: no thread, no lock, no wire, no clock. Everything here may be called from any one thread at a time."""
