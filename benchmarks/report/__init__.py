"""The report: results files and a manifest become one HTML page, Markdown and CSV."""
