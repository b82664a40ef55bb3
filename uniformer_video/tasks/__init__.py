"""What a model is trained for and judged by: one label, any labels, or what somebody registers."""
