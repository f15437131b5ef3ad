"""CEL: conditions compiled by cel-cpp in the control plane, run by our own machine everywhere else."""
