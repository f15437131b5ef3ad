"""Between the domain and the protos that several services share; `from_proto` raises InvalidInput
naming the field that cannot mean anything."""
