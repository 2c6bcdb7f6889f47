"""Backup and restore of what the server keeps: FalkorDB, Valkey, OpenCode's database.

The parts, in the direction of their imports:

    failure   the one error that people see
    settings  the environment, read once
    lock      one backup or restore at a time
    sets      a backup set: a directory of files and their SHA256SUMS
    sources   files out of the running stores
    replica   a file back into a running store
    remotes   where sets are kept: a Backblaze B2 bucket, or anything rclone knows
"""
