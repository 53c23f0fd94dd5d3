"""The measurements, one file per question. Each takes a report and puts its figures in."""
