"""What people look at: pages, pictures and tables."""
