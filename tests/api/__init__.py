"""The Python API: what `import streambench` offers."""
