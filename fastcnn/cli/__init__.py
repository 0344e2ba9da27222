"""What `python -m fastcnn COMMAND` does, one module a command: each has `configure(parser)` and `run(arguments)`."""
