"""What the views show: specs and tiles, made from results and captured passes."""
