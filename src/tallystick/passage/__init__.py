"""In which order? The corridor: nothing takes effect before it is recorded.

Each passage is a generator. It yields what the house must ask of the world (passage/effect.py), gets the answer back,
and ends with a value. So the order of things can be read from top to bottom, in one file for each thing that happens, and
a test walks a passage without a disk, a socket or a clock.
"""
