"""Long campaigns of broken and hostile input: whatever comes in, the package takes it or refuses it in words."""
