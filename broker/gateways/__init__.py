"""The processes that carry desktops' bytes; they outlive a restart of everything else."""
