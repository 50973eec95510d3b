"""Reading and writing files: dictionaries in, dictionaries out."""
