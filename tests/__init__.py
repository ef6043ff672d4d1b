"""The tests read as the specification: one folder for each room, one sentence of the contract for each test."""
