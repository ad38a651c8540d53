"""Words and values of the house: instruments, intervals, windows, schemas. Pure: no I/O, no clock."""
