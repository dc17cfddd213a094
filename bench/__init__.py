"""What is measured, and how: payloads, the arms, and the processes that time them."""
