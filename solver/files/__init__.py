"""BestReplies and writing files: dictionaries in, dictionaries out."""
