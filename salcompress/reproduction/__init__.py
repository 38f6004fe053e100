"""Every figure of the documents, measured by one command and written where it stands."""
