"""What a run tells people: the console, the curves, report.html, the command to type next."""
