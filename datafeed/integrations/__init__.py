"""What lets other programs load feeds."""
