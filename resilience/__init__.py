"""What happens when disks, processes, libraries and stored bytes fail."""
