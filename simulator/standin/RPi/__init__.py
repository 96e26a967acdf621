"""Stand-in for the GPIO library of a Raspberry Pi, found by PYTHONPATH=simulator/standin. See RPi/GPIO.py."""
