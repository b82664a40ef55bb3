"""One process or many: who this process is, what all of them decide together, and who still answers."""
