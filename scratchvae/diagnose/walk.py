"""The walk back from the loss."""
