"""The training loop and what it needs: state, optimiser, schedule, precision, logs."""
