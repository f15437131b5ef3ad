"""One exchange as a state machine: attempts, hold, cut, totals."""
