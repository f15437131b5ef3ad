"""One attempt's answer as a state machine: counted, held to its budget, cut, framed."""
