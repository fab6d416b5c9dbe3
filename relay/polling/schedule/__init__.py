"""When to poll a job next: learned durations, and the schedule with the least delay for its polls."""
