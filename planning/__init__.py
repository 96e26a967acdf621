"""Pure decisions: no thread, no lock, no wire, no clock. Any one thread at a time may call it."""
