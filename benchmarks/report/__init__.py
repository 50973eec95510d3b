"""Reports of benchmark rows: tables, pictures and pages."""
