"""The sections of a report, a file each; mutransfer.report.contents lists them in order."""
