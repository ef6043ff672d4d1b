"""Models and devices that answer what the gate asks. Each needs an extra, and is a clear Unavailable without it."""
