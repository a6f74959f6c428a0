"""Views of results: terminal tables, Markdown, the HTML page, the live view, figures. All show the same numbers."""
